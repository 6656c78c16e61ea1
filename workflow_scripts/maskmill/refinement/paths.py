"""The pixel pairs that IRN compares, and the cells between them (Ahn, Cho, Kwak, CVPR 2019)."""

Cell = tuple[int, int]
Path = tuple[Cell, tuple[Cell, ...]]


def paths(radius: int) -> list[Path]:
    """Offsets (dy, dx) of all pixel pairs that are closer than `radius` cells, each pair once, with the cells between.

    The offsets fill the half disc dy > 0, or dy = 0 and dx > 0, with dy^2 + dx^2 < radius^2. A path has the cells of
    the bounding box of both pixels that are less than one pixel from the line through them.

    Returns:
        Pairs (offset, cells), both relative to the source pixel. Cells go from the destination (= offset) to
        the source (0, 0). The shortest paths come first, as in the authors' index (`misc/indexing.py` of
        jiwoon-ahn/irn).
    """
    reach = range(-radius + 1, radius)
    offsets = [(dy, dx) for dy in range(radius) for dx in reach if (dy > 0 or dx > 0) and dy**2 + dx**2 < radius**2]
    return sorted(((offset, _cells(offset)) for offset in offsets), key=lambda path: len(path[1]))


def _cells(offset: Cell) -> tuple[Cell, ...]:
    dy, dx = offset
    box = [(y, x) for y in range(dy + 1) for x in range(min(0, dx), max(0, dx) + 1)]
    near = [(y, x) for y, x in box if (dy * x - dx * y) ** 2 < dy**2 + dx**2]
    return tuple(sorted(near, key=lambda cell: -abs(cell[0]) - abs(cell[1])))

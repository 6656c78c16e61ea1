"""Gaussian filters of high dimension on the permutohedral lattice (Adams, Baek and Davis, Eurographics 2010), and the
mean-field updates that the dense CRF builds on them. All compiled functions lie in this file, because numba's cache
notices only changes of the file that a function lies in.

A pixel's feature lies in a simplex of d + 1 lattice vertices. A filter splats every pixel's values onto its vertices,
blurs along the d + 1 directions of the lattice, and slices: reads each pixel's values back from its vertices. Only
vertices of occupied simplices exist; a missing neighbour counts as zero.

A vertex is numbered by its coordinates in the basis of the directions 1..d: a step along direction i adds 1 to
coordinate i, a step along direction 0 subtracts 1 from all. Packed into one integer, a step is a constant, and the
neighbours along a direction are consecutive integers once that direction's coordinate is the last digit.
"""

# mypy does not know that numba passes `typing` to intrinsics and vectors between them.
# mypy: disable-error-code="attr-defined, call-arg, var-annotated"

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, models, register_model

BLOCK = 256  # pixels whose intermediate values fit into the first-level cache
WIDEST = 8  # planes that one vector register holds
HASH = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio
ONE, HALF = np.float32(1), np.float32(0.5)
LOG2_E, LN2_HIGH = np.float32(1 / np.log(2)), np.float32(355 / 512)  # LN2_HIGH times an exponent is exact
LN2_LOW = np.float32(np.log(2) - 355 / 512)
LOWEST = np.float32(-87)  # e^-87 is still a normal float32


class Lattice(NamedTuple):
    """N pixels on a lattice of M vertices, whose filter K is scaled to D^-1/2 K D^-1/2 with D = K 1.

    Attributes:
        vertices: int32 [N, d + 1], corners of each pixel's simplex; numbers are in the order of first use by a pixel.
        weights: float32 [N, d + 1], barycentric coordinates times D^-1/2.
        gain: float32 [N], the result of the scaled filter for ones.
        chains: int32, vertices in the order of the lines along each direction, sorted by length of line.
        groups: int64 [G, 3], start in `chains`, number of lines and their length, in the order of the directions.
            A vertex without neighbours along a direction keeps its value and is left out.
        size: M.
    """

    vertices: np.ndarray
    weights: np.ndarray
    gain: np.ndarray
    chains: np.ndarray
    groups: np.ndarray
    size: int


def build_lattice(features: np.ndarray) -> Lattice:
    """Lattice of a Gaussian kernel with standard deviation 1.

    Args:
        features: float32 [d, N], finite.

    Raises:
        ValueError: the features span so many standard deviations that 63 bits cannot number the vertices.
    """
    d, pixels = features.shape
    i = np.arange(1, d + 1)
    scale = 1 / np.sqrt(i * (i + 1)) * float(np.float32(np.sqrt(2 / 3) * (d + 1)))  # E of p. 5, for a blur of sigma 1
    low, widths = _coordinates(features, scale)
    _check_bits(widths.sum() + 1)
    shifts = np.cumsum([0, *widths[:-1]])
    steps = np.array([-(1 << shifts).sum(), *(1 << shifts)])
    vertices, weights = np.empty((pixels, d + 1), np.int32), np.empty((pixels, d + 1), np.float32)
    keys = _embed(features, scale.astype(np.float32), steps, -low @ steps[1:], vertices, weights)
    chains, groups = _chains(keys, shifts, widths)
    lattice = Lattice(vertices, weights, np.ones(pixels, np.float32), chains, groups, len(keys))
    weights /= np.sqrt(filter_planes(lattice, lattice.gain[None])[0])[:, None]
    return lattice._replace(gain=filter_planes(lattice, lattice.gain[None])[0])


def filter_planes(lattice: Lattice, planes: np.ndarray) -> np.ndarray:
    """Filter planes float32 [P, N], each on its own: float32 [P, N]."""
    return np.stack([_filter(plane, _vertex_values(1, lattice.size, 1)[0], *lattice[:5]) for plane in planes])


def mean_field(
    unary: np.ndarray,
    live: np.ndarray,
    rest_unary: np.ndarray,
    share: float,
    kernels: list[tuple[float, Lattice]],
    iterations: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Iterate Q <- softmax(-U + sum_k w_k K_k Q) from Q = softmax(-U), for some live planes and one plane for the rest.

    The message to the rest needs no filter: all planes sum to 1, so that all messages sum to the kernels' gain.

    Args:
        unary: energies U, float32 [L, N].
        live: numbers of the V >= 1 live planes in `unary`.
        rest_unary: energies of the rest, float32 [N].
        share: fraction of its message that the rest receives.
        kernels: weight and lattice of the bilateral kernel (d = 5) and of the spatial kernel (d = 2).

    Returns:
        Q of the live planes, float32 [V, N], and of the rest, float32 [N].
    """
    groups = -(-len(live) // WIDEST)
    width = -(-len(live) // groups)
    planes, rest = np.zeros((groups * width, unary.shape[1]), np.float32), np.zeros(unary.shape[1], np.float32)
    weights = np.array([weight for weight, _ in kernels], np.float32)
    lattices = [lattice for _, lattice in kernels]
    gain = sum(weight * lattice.gain for weight, lattice in zip(weights, lattices, strict=True))
    corners = [array for lattice in lattices for array in (lattice.vertices, lattice.weights)]
    values = [_vertex_values(groups, lattice.size, width) for lattice in lattices]
    _begin(planes, rest, unary, live, rest_unary)
    for _ in range(iterations):
        for lattice_values in values:
            lattice_values.view(np.uint8).fill(0)
        _splat(planes, *corners, *values)
        for lattice, lattice_values in zip(lattices, values, strict=True):
            for group in lattice_values:
                _blur(group, lattice.chains, lattice.groups)
        _update(planes, rest, unary, live, rest_unary, np.float32(share), gain, weights, *corners, *values)
    return planes[: len(live)], rest


def _vertex_values(groups: int, size: int, width: int) -> np.ndarray:
    """Zeros for `width` planes side by side at every vertex: [groups, M] records of float32 [width]."""
    return np.zeros((groups, size), [("planes", np.float32, (width,))])


# --- the planes of one vertex, in one vector register ---------------------------------------------------------------


class Lanes(types.Type):
    """A vector of `width` float32, one per plane."""

    def __init__(self, width: int):
        self.width = width
        self.vector = ir.VectorType(ir.FloatType(), width)
        super().__init__(f"Lanes({width})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, lanes):
        super().__init__(manager, lanes, lanes.vector)


def _lanes(values: types.Array) -> Lanes:
    return Lanes(values.dtype.size // 4)


def _vertex_pointer(context, builder, values, array, vertex):
    data = builder.bitcast(context.make_array(values)(context, builder, array).data, ir.FloatType().as_pointer())
    start = builder.mul(vertex, vertex.type(_lanes(values).width))
    return builder.bitcast(builder.gep(data, [start]), _lanes(values).vector.as_pointer())


def _plane_pointers(context, builder, planes, array, first, pixel, width):
    planes = context.make_array(planes)(context, builder, array)
    pixels = builder.extract_value(planes.shape, 1)
    for lane in range(width):
        row = builder.mul(builder.add(first, first.type(lane)), pixels)
        yield ir.IntType(32)(lane), builder.gep(planes.data, [builder.add(row, pixel)])


@intrinsic
def _zeros(typing, values):
    def generate(context, builder, signature, arguments):
        return signature.return_type.vector(None)

    return _lanes(values)(values), generate


@intrinsic
def _load(typing, values, vertex):
    """Planes of one vertex; values: records [M], C-contiguous."""

    def generate(context, builder, signature, arguments):
        return builder.load(_vertex_pointer(context, builder, values, *arguments), align=4)

    return _lanes(values)(values, types.intp), generate


@intrinsic
def _store(typing, values, vertex, lanes):
    def generate(context, builder, signature, arguments):
        array, vertex, lanes = arguments
        builder.store(lanes, _vertex_pointer(context, builder, values, array, vertex), align=4)
        return context.get_dummy_value()

    return types.void(values, types.intp, lanes), generate


@intrinsic
def _pack(typing, planes, first, pixel, values):
    """As many planes of a pixel as `values` has per record, from `first` on; planes: float32 [P, N], C-contiguous."""

    def generate(context, builder, signature, arguments):
        lanes = signature.return_type.vector(ir.Undefined)
        width = signature.return_type.width
        for lane, pointer in _plane_pointers(context, builder, planes, *arguments[:3], width):
            lanes = builder.insert_element(lanes, builder.load(pointer), lane)
        return lanes

    return _lanes(values)(planes, types.intp, types.intp, values), generate


@intrinsic
def _unpack(typing, lanes, planes, first, pixel):
    def generate(context, builder, signature, arguments):
        for lane, pointer in _plane_pointers(context, builder, planes, *arguments[1:], lanes.width):
            builder.store(builder.extract_element(arguments[0], lane), pointer)
        return context.get_dummy_value()

    return types.void(lanes, planes, types.intp, types.intp), generate


@intrinsic
def _add(typing, a, b):
    def generate(context, builder, signature, arguments):
        return builder.fadd(*arguments)

    return a(a, b), generate


@intrinsic
def _add_scaled(typing, a, factor, b):
    """a + factor * b."""

    def generate(context, builder, signature, arguments):
        a, factor, b = arguments
        undefined, first = b.type(ir.Undefined), ir.IntType(32)(0)
        factors = builder.insert_element(undefined, factor, first)
        factors = builder.shuffle_vector(factors, undefined, ir.VectorType(ir.IntType(32), b.type.count)(None))
        return builder.fadd(a, builder.fmul(factors, b))

    return a(a, types.float32, b), generate


# --- splat, blur, slice ---------------------------------------------------------------------------------------------


@njit(cache=True)
def _filter(plane, values, vertices, weights, gain, chains, groups):
    if vertices.shape[1] == 6:  # a constant number of corners unrolls the loops
        return _filter_with(plane, values, vertices, weights, chains, groups, 6)
    if vertices.shape[1] == 3:
        return _filter_with(plane, values, vertices, weights, chains, groups, 3)
    return _filter_with(plane, values, vertices, weights, chains, groups, vertices.shape[1])


@njit(cache=True)
def _filter_with(plane, values, vertices, weights, chains, groups, corners):
    planes, out = plane.reshape(1, -1), np.empty((1, plane.size), np.float32)
    for p in range(plane.size):
        _scatter(_pack(planes, 0, p, values), values, vertices, weights, p, corners)
    _blur(values, chains, groups)
    for p in range(plane.size):
        _unpack(_gather(values, vertices, weights, p, corners), out, 0, p)
    return out[0]


@njit(cache=True)
def _scatter(lanes, values, vertices, weights, pixel, corners):
    for r in range(corners):
        vertex = vertices[pixel, r]
        _store(values, vertex, _add_scaled(_load(values, vertex), weights[pixel, r], lanes))


@njit(cache=True)
def _gather(values, vertices, weights, pixel, corners):
    lanes = _zeros(values)
    for r in range(corners):
        lanes = _add_scaled(lanes, weights[pixel, r], _load(values, vertices[pixel, r]))
    return lanes


@njit(cache=True)
def _blur(values, chains, groups):
    """[1/2 1 1/2] along each direction in turn, in place. Most lines are short, so these have code without a loop."""
    for g in range(len(groups)):
        start, lines, length = groups[g]
        if length == 2:
            for t in range(start, start + 2 * lines, 2):
                u, v = chains[t], chains[t + 1]
                first, last = _load(values, u), _load(values, v)
                _store(values, u, _add_scaled(first, HALF, last))
                _store(values, v, _add_scaled(last, HALF, first))
        elif length == 3:
            for t in range(start, start + 3 * lines, 3):
                u, v, w = chains[t], chains[t + 1], chains[t + 2]
                first, middle, last = _load(values, u), _load(values, v), _load(values, w)
                _store(values, u, _add_scaled(first, HALF, middle))
                _store(values, v, _add_scaled(middle, HALF, _add(first, last)))
                _store(values, w, _add_scaled(last, HALF, middle))
        else:
            for begin in range(start, start + length * lines, length):
                before, here = _zeros(values), _load(values, chains[begin])
                for t in range(begin, begin + length - 1):
                    after = _load(values, chains[t + 1])
                    _store(values, chains[t], _add_scaled(here, HALF, _add(before, after)))
                    before, here = here, after
                _store(values, chains[begin + length - 1], _add_scaled(here, HALF, before))


# --- mean field -----------------------------------------------------------------------------------------------------


@njit(cache=True)
def _begin(planes, rest, unary, live, rest_unary):
    for start in range(0, rest.size, BLOCK):
        _softmax(planes, rest, unary, live, rest_unary, start, min(start + BLOCK, rest.size))


@njit(cache=True)
def _splat(planes, vertices5, weights5, vertices2, weights2, values5, values2):
    width = len(planes) // len(values5)
    for start in range(0, planes.shape[1], BLOCK):
        for g in range(len(values5)):
            group5, group2 = values5[g], values2[g]
            for p in range(start, min(start + BLOCK, planes.shape[1])):
                lanes = _pack(planes, g * width, p, group5)
                _scatter(lanes, group5, vertices5, weights5, p, 6)
                _scatter(lanes, group2, vertices2, weights2, p, 3)


@njit(cache=True)
def _update(
    planes, rest, unary, live, rest_unary, share, gain, compat,
    vertices5, weights5, vertices2, weights2, values5, values2,
):  # fmt: skip
    """Slice the messages of both kernels and apply the softmax, block by block."""
    width = len(planes) // len(values5)
    for start in range(0, rest.size, BLOCK):
        stop = min(start + BLOCK, rest.size)
        for g in range(len(values5)):
            group5, group2 = values5[g], values2[g]
            for p in range(start, stop):
                message = _add_scaled(_zeros(group5), compat[0], _gather(group5, vertices5, weights5, p, 6))
                message = _add_scaled(message, compat[1], _gather(group2, vertices2, weights2, p, 3))
                _unpack(message, planes, g * width, p)
        messages = rest[start:stop]
        messages[:] = gain[start:stop]
        for k in range(len(live)):
            plane = planes[k, start:stop]
            for b in range(stop - start):
                messages[b] -= plane[b]
        for b in range(stop - start):
            messages[b] *= share
        _softmax(planes, rest, unary, live, rest_unary, start, stop)


@njit(cache=True)
def _softmax(planes, rest, unary, live, rest_unary, start, stop):
    """Turn messages into probabilities, in place, for the pixels start..stop-1. The compiler vectorises loops over
    sliced rows."""
    n = stop - start
    top, total = np.empty(n, np.float32), np.empty(n, np.float32)
    of_rest, energies = rest[start:stop], rest_unary[start:stop]
    for b in range(n):
        of_rest[b] -= energies[b]
        top[b] = of_rest[b]
    for k in range(len(live)):
        plane, energies = planes[k, start:stop], unary[live[k], start:stop]
        for b in range(n):
            plane[b] -= energies[b]
            top[b] = max(top[b], plane[b])
    for b in range(n):
        of_rest[b] = _exp(of_rest[b] - top[b])
        total[b] = of_rest[b]
    for k in range(len(live)):
        plane = planes[k, start:stop]
        for b in range(n):
            plane[b] = _exp(plane[b] - top[b])
            total[b] += plane[b]
    for b in range(n):
        total[b] = ONE / total[b]
        of_rest[b] *= total[b]
    for k in range(len(live)):
        plane = planes[k, start:stop]
        for b in range(n):
            plane[b] *= total[b]
    for k in range(len(live), len(planes)):
        planes[k, start:stop] = 0


@njit(cache=True)
def survey(unary):
    """The least energy of each pixel, float32 [N], and the highest odds e^(least - U) of each plane, float32 [L]."""
    least = np.empty(unary.shape[1], np.float32)
    gaps = np.full((len(unary), BLOCK), np.inf, np.float32)
    for start in range(0, least.size, BLOCK):
        block = least[start : start + BLOCK]
        block[:] = unary[0, start : start + BLOCK]
        for k in range(1, len(unary)):
            energies = unary[k, start : start + BLOCK]
            for b in range(block.size):
                block[b] = min(block[b], energies[b])
        for k in range(len(unary)):
            energies, gap = unary[k, start : start + BLOCK], gaps[k]
            for b in range(block.size):
                gap[b] = min(gap[b], energies[b] - block[b])
    return least, np.array([np.exp(-gap.min()) for gap in gaps])


@njit(cache=True)
def merge(unary, least, members):
    """Sums of the members' odds e^(least - U): over members, float32 [N], and over pixels, float32 [members]."""
    total = np.zeros(least.size, np.float32)
    masses = np.zeros((len(members), BLOCK), np.float32)
    odds = np.empty(BLOCK, np.float32)
    for start in range(0, least.size, BLOCK):
        block, sums = least[start : start + BLOCK], total[start : start + BLOCK]
        for m in range(len(members)):
            energies, mass = unary[members[m], start : start + BLOCK], masses[m]
            for b in range(block.size):
                odds[b] = _exp(block[b] - energies[b])
            for b in range(block.size):
                sums[b] += odds[b]
                mass[b] += odds[b]
    return total, masses.sum(axis=1)


@njit(cache=True)
def share_out(unary, least, members, factor, q):
    """Write the members' odds times a factor [N] into their rows of q [L, N]."""
    for member in members:
        out, energies = q[member], unary[member]
        for p in range(least.size):
            out[p] = factor[p] * _exp(least[p] - energies[p])


@njit(cache=True)
def _exp(x):
    """e^x for x <= 0 to about the last bit, without a branch: 2^k times the Taylor series of the remainder."""
    x = max(x, LOWEST)
    k = np.rint(x * LOG2_E)
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    y = ONE + r / np.float32(7)
    y = ONE + y * r * np.float32(1 / 6)
    y = ONE + y * r * np.float32(1 / 5)
    y = ONE + y * r * np.float32(1 / 4)
    y = ONE + y * r * np.float32(1 / 3)
    y = ONE + y * r * HALF
    y = ONE + y * r
    return y * np.int32((np.int32(k) + np.int32(127)) << np.int32(23)).view(np.float32)


# --- building the lattice -------------------------------------------------------------------------------------------


def _check_bits(bits: int) -> None:
    if bits > 63:
        raise ValueError(
            f"vertices need {bits} of 63 bits: the features span too many standard deviations; raise sxy or srgb, "
            "or use the backend pydensecrf"
        )


def _coordinates(features: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A lower bound of every vertex coordinate, and the number of bits that the coordinate takes.

    A simplex surrounds its pixel's point, and its corners differ by at most 1 in each coordinate.
    """
    d = len(features)
    elevation = np.vstack([np.ones(d), np.triu(np.ones((d, d)), 1) - np.diag(np.arange(1, d + 1))]) * scale
    coordinates = (elevation[0] - elevation[1:]) / (d + 1)
    ends = np.stack([features.min(axis=1), features.max(axis=1)]).astype(np.float64)
    low, high = np.sort(coordinates * ends[:, None], axis=0).sum(axis=2)
    low, high = np.floor(low).astype(np.int64) - 2, np.ceil(high).astype(np.int64) + 2
    return low, np.array([int(span).bit_length() for span in high - low])


@njit(cache=True)
def _embed(features, scale, steps, origin, vertices, weights):
    """Fill in every pixel's corners and barycentric coordinates (p. 5, 6 and 10); return the vertices' packed
    coordinates [M].

    float32 operations in the order of pydensecrf: a point on the border of two simplices then falls into the same one.
    """
    d, pixels = features.shape
    point, cell = np.empty((d + 1, BLOCK), np.float32), np.empty((d + 1, BLOCK), np.float32)
    beyond, rank = np.empty((d + 1, BLOCK), np.float32), np.empty((d + 1, BLOCK), np.int32)
    total, key = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.int64)
    corners = np.empty((BLOCK, d + 1), np.int64)
    up, down = np.float32(d + 1), np.float32(1 / (d + 1))
    shift = np.uint64(64)
    while np.uint64(1) << (np.uint64(64) - shift) < np.uint64(4 * pixels):
        shift -= np.uint64(1)
    table = np.full(1 << (64 - shift), -1, np.int32)
    keys, size = np.empty(table.size // 2, np.int64), 0
    for first in range(0, pixels, BLOCK):
        n = min(BLOCK, pixels - first)
        _elevate(features, scale, first, n, point, total)
        total[:] = 0
        for i in range(d + 1):  # the nearest vertex with coordinates divisible by d + 1
            here, nearest, over = point[i], cell[i], beyond[i]
            for b in range(n):
                nearest[b] = np.rint(here[b] * down)
            for b in range(n):
                total[b] += nearest[b]
                over[b] = here[b] - nearest[b] * up
        _rank(beyond, rank, n)
        key[:] = origin
        for i in range(d + 1):  # back onto the plane where coordinates sum to 0
            here, nearest, order = point[i], cell[i], rank[i]
            for b in range(n):
                r = order[b] + np.int32(total[b])
                wrap = np.int32(r < 0) - np.int32(r > d)
                order[b] = r + wrap * np.int32(d + 1)
                nearest[b] += np.float32(wrap)
                here[b] = (here[b] - nearest[b] * up) * down
        for i in range(1, d + 1):
            nearest, reference = cell[i], cell[0]
            for b in range(n):
                key[b] += np.int64(reference[b] - nearest[b]) * steps[i]
        _walk_simplices(point, rank, key, steps, n, corners, weights[first : first + n])
        while 2 * (size + corners.size) > table.size:
            table, shift = np.full(2 * table.size, -1, np.int32), shift - np.uint64(1)
            keys = np.append(keys, np.empty_like(keys))
            for v in range(size):
                table[_slot(keys[v], table, keys, shift)] = v
        for b in range(n):
            for r in range(d + 1):
                slot = _slot(corners[b, r], table, keys, shift)
                if table[slot] < 0:
                    keys[size] = corners[b, r]
                    table[slot] = size
                    size += 1
                vertices[first + b, r] = table[slot]
    return keys[:size].copy()


@njit(cache=True)
def _elevate(features, scale, first, n, point, total):
    """E times the features: onto the plane in d + 1 dimensions where coordinates sum to 0 (p. 5)."""
    total[:] = 0
    for j in range(len(features), 0, -1):
        feature, here = features[j - 1, first : first + n], point[j]
        for b in range(n):
            f = feature[b] * scale[j - 1]
            here[b] = total[b] - np.float32(j) * f
            total[b] += f
    point[0] = total


@njit(cache=True)
def _rank(beyond, rank, n):
    """Place of each coordinate in descending order; of equal coordinates, the later one comes first."""
    rank[:] = 0
    for i in range(len(rank)):
        for j in range(i + 1, len(rank)):
            over, over_other, order, order_other = beyond[i], beyond[j], rank[i], rank[j]
            for b in range(n):
                below = np.int32(over[b] < over_other[b])
                order[b] += below
                order_other[b] += np.int32(1) - below


@njit(cache=True)
def _walk_simplices(point, rank, key, steps, n, corners, weights):
    """Go from corner to corner of each pixel's simplex, first along the direction of the smallest coordinate."""
    d = len(rank) - 1
    ascending, direction = np.empty(d + 1, np.float32), np.empty(d + 1, np.int64)
    for b in range(n):
        for i in range(d + 1):
            ascending[d - rank[i, b]] = point[i, b]
            direction[d - rank[i, b]] = i
        corner = key[b]
        weights[b, 0] = ascending[0] + (ONE - ascending[d])
        for r in range(d + 1):
            if r > 0:
                weights[b, r] = ascending[r] - ascending[r - 1]
            corners[b, r] = corner
            corner += steps[direction[r]]


@njit(cache=True)
def _slot(key, table, keys, shift):
    """Slot of a vertex in the hash table, or the free slot for it (linear probing; 2^(64 - shift) slots)."""
    slot = np.int64(np.uint64(key) * HASH >> shift)
    while table[slot] >= 0 and keys[table[slot]] != key:
        slot = (slot + 1) & (table.size - 1)
    return slot


def _chains(keys: np.ndarray, shifts: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lines along every direction: `chains` and `groups` of Lattice. The lowest bits of an entry name the vertex."""
    bits = len(keys).bit_length()
    _check_bits(widths.sum() + len(widths) - 1 + bits)
    chains, groups, filled = np.empty((len(widths) + 1) * len(keys), np.int32), [], 0
    for direction in range(len(widths) + 1):
        if direction == 0:
            lines = _diagonal_lines(keys, shifts, widths, bits)
        else:
            lines = _axis_lines(keys, shifts[direction - 1], widths[direction - 1], bits)
        lines.sort()
        lengths, filled = _append_chains(lines, bits, 1 << int(widths.max()), chains, filled)
        groups.append(lengths)
    return chains[:filled].copy(), np.concatenate(groups)


@njit(cache=True)
def _axis_lines(keys, shift, width, bits):
    lines = np.empty_like(keys)
    below, digit = (np.int64(1) << shift) - 1, (np.int64(1) << width) - 1
    for v in range(keys.size):
        across = keys[v] >> (shift + width) << shift | keys[v] & below
        lines[v] = (across << width | keys[v] >> shift & digit) << bits | v
    return lines


@njit(cache=True)
def _diagonal_lines(keys, shifts, widths, bits):
    """Direction 0: all coordinates change together; their differences to one of them, the narrowest, do not."""
    lines, along = np.empty_like(keys), np.argmin(widths)
    limit = np.int64(1) << widths[along]
    for v in range(keys.size):
        place = keys[v] >> shifts[along] & limit - 1
        line = np.int64(0)
        for i in range(len(widths)):
            if i != along:
                coordinate = keys[v] >> shifts[i] & (np.int64(1) << widths[i]) - 1
                line = line << widths[i] + 1 | coordinate - place + limit
        lines[v] = (line << widths[along] | place) << bits | v
    return lines


@njit(cache=True)
def _append_chains(lines, bits, longest, chains, filled):
    """Append the runs of consecutive numbers in `lines`, sorted by length; runs of one lie behind the end."""
    run, lengths = np.empty(lines.size, np.int32), np.empty(lines.size, np.int32)
    counts, place = np.zeros(longest + 1, np.int64), np.zeros(longest + 1, np.int64)
    runs, begin = 0, 0
    for t in range(lines.size):
        run[t], lengths[runs] = runs, t + 1 - begin
        ends = t + 1 == lines.size or (lines[t + 1] >> bits) - (lines[t] >> bits) != 1
        begin = t + 1 if ends else begin
        runs += ends
    for k in range(runs):
        counts[lengths[k]] += 1
    groups, g = np.empty((np.count_nonzero(counts[2:]), 3), np.int64), 0
    for length in range(2, longest + 1):
        place[length] = filled
        if counts[length]:
            groups[g] = filled, counts[length], length
            filled += counts[length] * length
            g += 1
    place[1] = filled
    for t in range(lines.size):
        length = lengths[run[t]]
        chains[place[length]] = lines[t] & ((np.int64(1) << bits) - 1)
        place[length] += 1
    return groups, filled

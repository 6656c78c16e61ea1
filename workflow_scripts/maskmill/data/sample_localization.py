"""Sample scenes as a localisation set: one object per image, with its box, in the layouts of CUB and ILSVRC.

The scenes are those of `sample_scenes` with a single object. A classifier looks only at the small part that identifies
the class, so that its activation covers a fraction of the box; BAS repairs that.
"""

from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from maskmill.data.sample_scenes import CLASSES, Scene, draw_scene

FIRST = {"cub": 1, "ilsvrc": 1_000_001}  # scene numbers of the training images
OFFSETS = {"train": 0, "val": 500_000, "heldout": 750_000}  # no split depends on the size of another


def draw_localization_scenes(
    root: str | Path, boxset: str, *, train: int, heldout: int, val: int, size: int = 96, seed: int = 0
) -> None:
    """Draw scenes with one object each, in the layout that `maskmill.data.localization` reads for `boxset`.

    CUB has boxes in a list, and masks (grey PNG, 255 on the object); ILSVRC has boxes in XML and no masks. Both have a
    held-out set, `heldout/images` and `heldout/lists`, in the format of the WSOL benchmark. Every run writes the same
    bytes, and the first scenes do not depend on the number of scenes.

    Args:
        root: folder to write to.
        boxset: cub or ilsvrc.
        train, heldout, val: numbers of scenes.
        size: height and width in pixels.
        seed: of all random numbers.
    """
    root = Path(root)
    numbers = {"train": train, "heldout": heldout, "val": val}
    scenes = {
        split: list(islice(lone_objects(FIRST[boxset] + OFFSETS[split], size, seed), numbers[split]))
        for split in numbers
    }
    write = {"cub": _write_cub, "ilsvrc": _write_ilsvrc}[boxset]
    write(root, scenes["train"], scenes["val"])
    _write_held_out(root / "heldout", scenes["heldout"])


def lone_objects(first: int, size: int, seed: int) -> Iterator[tuple[int, Scene]]:
    """Yield the scenes with exactly one object, and their numbers, starting at number `first`."""
    for number in count(first):
        scene = draw_scene(number, size, seed)
        if len(scene.boxes) == 1:
            yield number, scene


def _write_cub(root: Path, train: list[tuple[int, Scene]], val: list[tuple[int, Scene]]) -> None:
    names = [f"{k + 1:03d}.{name}" for k, name in enumerate(CLASSES)]
    lines: dict[str, list[str]] = {key: [] for key in ("images", "train_test_split", "image_class_labels")}
    lines |= {"bounding_boxes": [], "classes": [f"{k + 1} {name}" for k, name in enumerate(names)]}
    for row, (number, scene) in enumerate((*train, *val), start=1):
        class_id, x0, y0, x1, y1 = scene.boxes[0]
        file = f"{names[class_id - 1]}/{CLASSES[class_id - 1]}_{number:07d}"
        _write_image(root / "images" / f"{file}.jpg", scene.image)
        _write_image(root / "segmentations" / f"{file}.png", (scene.mask > 0).astype(np.uint8) * 255)
        lines["images"].append(f"{row} {file}.jpg")
        lines["train_test_split"].append(f"{row} {int(row <= len(train))}")
        lines["image_class_labels"].append(f"{row} {class_id}")
        lines["bounding_boxes"].append(f"{row} {x0:.1f} {y0:.1f} {x1 - x0:.1f} {y1 - y0:.1f}")
    for name, rows in lines.items():
        _write_lines(root / f"{name}.txt", rows)


def _write_ilsvrc(root: Path, train: list[tuple[int, Scene]], val: list[tuple[int, Scene]]) -> None:
    for number, scene in train:
        _write_image(root / "train" / _wnid(scene) / f"{_wnid(scene)}_{number}.JPEG", scene.image)
    for position, (_, scene) in enumerate(val, start=1):
        name = f"ILSVRC2012_val_{position:08d}"
        _write_image(root / "val" / _wnid(scene) / f"{name}.JPEG", scene.image)
        _write_annotation(root / "boxes" / f"{name}.xml", scene)


def _write_annotation(path: Path, scene: Scene) -> None:
    height, width = scene.mask.shape
    top = ElementTree.Element("annotation")
    size = ElementTree.SubElement(top, "size")
    thing = ElementTree.SubElement(top, "object")
    ElementTree.SubElement(thing, "name").text = _wnid(scene)
    box = ElementTree.SubElement(thing, "bndbox")
    corners = dict(zip(("xmin", "ymin", "xmax", "ymax"), scene.boxes[0][1:], strict=True))
    for parent, values in ((size, {"width": width, "height": height}), (box, corners)):
        for name, value in values.items():
            ElementTree.SubElement(parent, name).text = str(value)
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(top).write(path, encoding="utf-8")


def _write_held_out(folder: Path, scenes: list[tuple[int, Scene]]) -> None:
    lines: dict[str, list[str]] = {key: [] for key in ("image_ids", "class_labels", "image_sizes", "localization")}
    for number, scene in scenes:
        class_id, *box = scene.boxes[0]
        file = f"{class_id - 1}/{number}.jpeg"
        _write_image(folder / "images" / file, scene.image)
        height, width = scene.mask.shape
        lines["image_ids"].append(file)
        lines["class_labels"].append(f"{file},{class_id - 1}")
        lines["image_sizes"].append(f"{file},{width},{height}")
        lines["localization"].append(",".join(map(str, (file, *box))))
    for name, rows in lines.items():
        _write_lines(folder / "lists" / f"{name}.txt", rows)


def _wnid(scene: Scene) -> str:
    """Name of the class's folder, in WordNet's format; the names sort like the class ids."""
    return f"n{scene.boxes[0][0]:08d}"


def _write_image(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if pixels.ndim == 3:
        image.save(path, quality=95, subsampling=0)
    else:
        image.save(path)


def _write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

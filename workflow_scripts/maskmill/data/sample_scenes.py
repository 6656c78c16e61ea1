"""Sample scenes: drawn images in Pascal VOC's layout, for first runs and tests.

A scene is a background of ordinary textures ("stuff"), one to three objects, and sometimes a context:

- An object is a plain body, whose shape and colour several classes share, with a small two-coloured part that only
  its class has. A classifier therefore looks at the part and not at the body; BAS repairs that.
- Some classes have a context in nine of ten images (`CONTEXTS`); the same context occurs alone in other images. A
  classifier therefore mistakes the context for the object; MARS removes this bias.
- Contexts have the same families of textures as ordinary backgrounds, in other colours, like rails and wakes in
  photographs. MARS (Eq. 1-3) ranks a region by its distance from the mean background, so it can remove such contexts;
  a context with a texture of its own would be farther from the mean than the objects are.

Bodies have sharp edges and all pixels have noise, so that a CRF can improve the masks.
"""

import csv
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from maskmill.data import cityscapes
from maskmill.data.catalog import CITIES, VOC, Dataset, voc_palette
from maskmill.data.voc import write_mask

CLASSES = VOC.classes[1:]  # mask id = position + 1

CONTEXT_RATE = 0.9  # share of the scenes with a class of `CONTEXTS` that show its context
ALONE_RATE = 0.12  # share of the scenes without such a class that show a context
OBJECT_COUNTS = (0.45, 0.45, 0.10)  # probability of one, two and three objects
PART_RADIUS = 0.4  # in half widths of the object
NOISE = 0.035  # standard deviation, for colours in 0..1
VAL_OFFSET = 500_000  # number of the first val scene, so that val does not depend on the number of train scenes
PAIRS_OFFSET = 1_000_000  # number of the first scene for pre-training with or without text


@dataclass(frozen=True)
class Stuff:
    """A texture: a family (key of `TEXTURES`), two colours (RGB in 0..1), a period in pixels, an angle in radians."""

    family: str
    dark: tuple[float, float, float]
    light: tuple[float, float, float]
    period: float
    angle: float


@dataclass(frozen=True)
class Context:
    """The usual surroundings of a class; `offset` is how far their middle is below the object's, in half widths of the
    object."""

    name: str
    preposition: str
    stuff: Stuff
    offset: float


CONTEXTS = {
    "aeroplane": Context("trail", "with a", Stuff("strokes", (0.20, 0.30, 0.42), (0.52, 0.60, 0.68), 8, 0.0), 0.3),
    "boat": Context("wake", "with a", Stuff("waves", (0.06, 0.26, 0.38), (0.38, 0.60, 0.64), 6, 1.57), 0.7),
    "chair": Context("tiles", "on", Stuff("tiles", (0.36, 0.18, 0.10), (0.70, 0.50, 0.36), 9, 0.0), 0.7),
    "horse": Context("fence", "behind a", Stuff("lattice", (0.24, 0.20, 0.12), (0.64, 0.58, 0.38), 8, 0.0), 0.5),
    "sheep": Context("meadow", "on a", Stuff("strokes", (0.10, 0.24, 0.07), (0.46, 0.62, 0.32), 7, 1.57), 0.6),
    "train": Context("rails", "on", Stuff("stripes", (0.18, 0.15, 0.18), (0.54, 0.46, 0.52), 6, 0.0), 0.7),
}
CONTEXT_CLASSES = tuple(CONTEXTS)

BODY_COLOURS = {
    "red": (0.92, 0.62, 0.60),
    "orange": (0.94, 0.79, 0.58),
    "green": (0.66, 0.88, 0.65),
    "blue": (0.64, 0.75, 0.95),
    "purple": (0.84, 0.68, 0.91),
    "grey": (0.78, 0.78, 0.78),
}
# All are light: a dark part would look like a background texture, and debiasing would remove it from its object.
_RED, _YELLOW, _GREEN, _BLUE = (1.0, 0.35, 0.35), (1.0, 0.95, 0.25), (0.25, 0.95, 0.35), (0.35, 0.5, 1.0)
_PINK, _CYAN, _ORANGE, _WHITE = (1.0, 0.4, 0.95), (0.3, 0.95, 1.0), (1.0, 0.65, 0.15), (1.0, 1.0, 1.0)
PART_COLOURS = (
    *((_RED, _YELLOW), (_RED, _BLUE), (_GREEN, _PINK), (_BLUE, _YELLOW), (_CYAN, _ORANGE)),
    *((_RED, _WHITE), (_BLUE, _PINK), (_GREEN, _YELLOW), (_ORANGE, _YELLOW), (_CYAN, _RED)),
    *((_BLUE, _WHITE), (_GREEN, _ORANGE), (_PINK, _WHITE), (_RED, _GREEN), (_CYAN, _BLUE)),
    *((_PINK, _ORANGE), (_GREEN, _WHITE), (_RED, _ORANGE), (_PINK, _YELLOW), (_GREEN, _BLUE)),
)  # one pair per class; no two classes share both colours


def draw_scenes(root: str | Path, *, train_aug: int, train: int, val: int, size: int = 96, seed: int = 0) -> None:
    """Draw a data set in VOC's layout: JPEGImages (.jpg), SegmentationClass (palette PNG, ids 0..20, no void),
    Annotations (XML boxes, 1-based, inclusive), ImageSets/Segmentation (train_aug, train, val), captions.csv
    (image_id, caption) and ContextMasks (grey PNG: the class id whose context a pixel shows, 0 elsewhere).

    Scene n depends only on (seed, n): the first scenes do not depend on the number of scenes, and every run writes the
    same bytes. The first `train` scenes of train_aug are train.

    Args:
        root: folder to write to.
        train_aug, train, val: numbers of scenes; train <= train_aug.
        size: height and width in pixels.
        seed: of all random numbers.

    Raises:
        ValueError: train > train_aug.
    """
    if train > train_aug:
        raise ValueError(f"train ({train}) is a part of train_aug ({train_aug}) and cannot be larger")
    root = Path(root)
    for folder in ("JPEGImages", "SegmentationClass", "Annotations", "ContextMasks", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    train_numbers = range(1, train_aug + 1)
    val_numbers = range(VAL_OFFSET + 1, VAL_OFFSET + val + 1)
    captions = []
    for number in (*train_numbers, *val_numbers):
        scene = draw_scene(number, size, seed)
        _write_scene(root, _image_id(number), scene)
        captions.append((_image_id(number), scene.caption))
    _write_ids(root, "train_aug", train_numbers)
    _write_ids(root, "train", train_numbers[:train])
    _write_ids(root, "val", val_numbers)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("image_id", "caption"), *captions])
    (root / "captions.csv").write_text(text.getvalue(), encoding="utf-8")


def draw_stand_ins(root: str | Path, dataset: Dataset, *, train: int, val: int, size: int = 96, seed: int = 0) -> None:
    """Draw the scenes of `draw_scenes` in another data set's layout, with its lists train and val.

    They replace that data set so that the workflow runs without it: ids are in its range, but the names of its classes
    do not describe the objects (`stand_in_ids`). Cityscapes' images are PNG files, distributed over its cities.

    Args:
        root: folder to write to.
        dataset: the data set to replace.
        train, val: numbers of scenes; Cityscapes is complete with at least one per city (18 and 3).
        size: height and width in pixels.
        seed: of all random numbers.
    """
    ids = stand_in_ids(dataset)
    for split, first, count in (("train", 1, train), ("val", VAL_OFFSET + 1, val)):
        names = []
        for number in range(first, first + count):
            name, image, mask = _stand_in_files(Path(root), dataset, split, number)
            scene = draw_scene(number, size, seed)
            for path in (image, mask):
                path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(scene.image).save(image, quality=95, subsampling=0)
            write_mask(mask, ids[scene.mask])
            names.append(name)
        if dataset.layout and dataset.layout.lists:
            path = Path(root, dataset.layout.lists, f"{split}.txt")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def stand_in_ids(dataset: Dataset) -> np.ndarray:
    """Table from the ids of a scene to ids of `dataset`, uint8 [21].

    0 stays 0, background or (Cityscapes) road. The objects' ids 1..20 are mapped to the other ids cyclically, so that
    each of PASCAL-Person-Part's 1..6 stands for several objects.
    """
    ids = np.arange(len(VOC.classes))
    return np.where(ids > 0, (ids - 1) % (dataset.num_classes - 1) + 1, 0).astype(np.uint8)


def _stand_in_files(root: Path, dataset: Dataset, split: str, number: int) -> tuple[str, Path, Path]:
    """Image id, image and mask."""
    if dataset.layout is None:
        name = f"{CITIES[split][number % len(CITIES[split])]}_{number:06d}_000000"
        return name, cityscapes.image_path(root, split, name), cityscapes.mask_path(root, split, name)
    name, place = _image_id(number), 0 if split == "train" else -1  # the last folders hold what is validated on
    images, masks = root / dataset.layout.images[place], root / dataset.layout.masks[place]
    return name, images / f"{name}.jpg", masks / f"{name}.png"


@dataclass(frozen=True)
class Scene:
    """One scene.

    Attributes:
        image: uint8 [size, size, 3] RGB.
        mask: class ids uint8 [size, size], 0..20.
        context: class ids whose context a pixel shows, uint8 [size, size], 0 elsewhere.
        boxes: (class id, xmin, ymin, xmax, ymax), 0-based, inclusive, one per object.
        caption: of the objects and contexts.
    """

    image: np.ndarray
    mask: np.ndarray
    context: np.ndarray
    boxes: tuple[tuple[int, int, int, int, int], ...]
    caption: str


def draw_scene(number: int, size: int = 96, seed: int = 0) -> Scene:
    """Draw scene `number`. It has the class at position `number % 20` of `CLASSES`, and maybe others, so that any 20
    successive scenes show all classes."""
    rng = np.random.default_rng([seed, number])
    ids = _draw_classes(rng, number)
    objects = _place(rng, ids, size)
    image = _draw_background(rng, size)
    context = np.zeros((size, size), np.uint8)
    mask = np.zeros((size, size), np.uint8)
    phrases = []
    contexts = _draw_contexts(rng, objects)
    for class_id, row in contexts:
        band = _band(rng, row, size)
        image[band] = texture(rng, CONTEXTS[CLASSES[class_id - 1]].stuff, size)[band]
        context[band] = class_id
    owners = np.full((size, size), -1)
    for k, thing in enumerate(objects):
        body, part, colours = _draw_object(rng, thing, size)
        colour = list(BODY_COLOURS)[rng.integers(len(BODY_COLOURS))]
        image[body] = _shade(rng, BODY_COLOURS[colour], size)[body]
        image[part] = colours[part]
        mask[body | part], owners[body | part] = thing.class_id, k
        phrases.append(_phrase(colour, thing.class_id, dict(contexts)))
    context[mask > 0] = 0
    image = _blur(image) + NOISE * rng.standard_normal(image.shape)
    image = (255 * image.clip(0, 1)).round().astype(np.uint8)
    boxes = tuple((thing.class_id, *_box(owners == k)) for k, thing in enumerate(objects) if (owners == k).any())
    caption = " and ".join(phrases)
    alone = [CONTEXTS[CLASSES[c - 1]].name for c, _ in contexts if c not in ids]
    return Scene(image, mask, context, boxes, caption + (f" near {alone[0]}" if alone else ""))


# --- what a scene shows -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Thing:
    """One object: its middle (y, x) and its half width `radius` in pixels; `flip` is -1 if it faces left, else 1."""

    class_id: int
    y: float
    x: float
    radius: float
    flip: int


def _draw_classes(rng: np.random.Generator, number: int) -> list[int]:
    count = 1 + rng.choice(3, p=OBJECT_COUNTS)
    first = number % len(CLASSES) + 1
    others = [c for c in range(1, len(CLASSES) + 1) if c != first]
    return [first, *map(int, rng.choice(others, count - 1, replace=False))]


def _place(rng: np.random.Generator, ids: list[int], size: int) -> list[Thing]:
    low, high = ((0.25, 0.33), (0.20, 0.26), (0.16, 0.20))[len(ids) - 1]
    things: list[Thing] = []
    for class_id in ids:
        radius = size * rng.uniform(low, high)
        spots = rng.uniform(0.9 * radius, size - 0.9 * radius, (40, 2))
        gaps = [min((np.hypot(t.y - y, t.x - x) - t.radius for t in things), default=size) for y, x in spots]
        free = [k for k, gap in enumerate(gaps) if gap > radius]
        y, x = spots[free[0] if free else int(np.argmax(gaps))]
        things.append(Thing(class_id, y, x, radius, int(rng.choice((-1, 1)))))
    return things


def _draw_contexts(rng: np.random.Generator, things: list[Thing]) -> list[tuple[int, float]]:
    """Class ids of the contexts in the scene, with the row (in pixels) of the middle of each."""
    owners = [t for t in things if CLASSES[t.class_id - 1] in CONTEXTS]
    in_context = [t for t in owners if rng.random() < CONTEXT_RATE]
    rows = [(t.class_id, t.y + CONTEXTS[CLASSES[t.class_id - 1]].offset * t.radius) for t in in_context]
    if not owners and rng.random() < ALONE_RATE:
        name = CONTEXT_CLASSES[rng.integers(len(CONTEXT_CLASSES))]
        rows = [(CLASSES.index(name) + 1, things[0].y + rng.uniform(-1, 1) * things[0].radius)]
    return rows


def _phrase(colour: str, class_id: int, contexts: dict[int, float]) -> str:
    phrase = f"{'an' if colour[0] == 'o' else 'a'} {colour} {CLASSES[class_id - 1]}"
    if class_id not in contexts:
        return phrase
    context = CONTEXTS[CLASSES[class_id - 1]]
    return f"{phrase} {context.preposition} {context.name}"


# --- stuff --------------------------------------------------------------------------------------------------------


def texture(rng: np.random.Generator, stuff: Stuff, size: int) -> np.ndarray:
    """Draw a texture over a whole square: float64 [size, size, 3], colours in 0..1."""
    y, x = np.mgrid[:size, :size].astype(float)
    along = x * np.cos(stuff.angle) + y * np.sin(stuff.angle)
    across = y * np.cos(stuff.angle) - x * np.sin(stuff.angle)
    light = TEXTURES[stuff.family](rng, along / stuff.period + rng.random(), across / stuff.period + rng.random())
    light = light[..., None]
    return (1 - light) * np.array(stuff.dark) + light * np.array(stuff.light)


def _stripes(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _steep(np.sin(2 * np.pi * u))


def _waves(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _steep(np.sin(2 * np.pi * (u + 0.35 * np.sin(2 * np.pi * v / 2))))


def _tiles(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _steep(2 * np.sin(2 * np.pi * u) * np.sin(2 * np.pi * v))


def _lattice(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _steep(np.maximum(np.sin(2 * np.pi * u), np.sin(2 * np.pi * v)) * 2 - 1)


def _strokes(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Dashes along u: one random grey per cell of a sheared grid, with alternating dark and light rows."""
    row = np.floor(2 * v).astype(int)
    cell = np.floor(0.7 * u + 0.37 * row).astype(int)
    return 0.4 * rng.random((64, 64))[row % 64, cell % 64] + 0.6 * (row % 2)


def _gravel(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    greys = rng.random((64, 64))
    return greys[np.floor(2 * v).astype(int) % 64, np.floor(2 * u).astype(int) % 64]


def _steep(wave: np.ndarray) -> np.ndarray:
    return (0.5 + wave).clip(0, 1)


TEXTURES: dict[str, Callable[[np.random.Generator, np.ndarray, np.ndarray], np.ndarray]] = {
    "stripes": _stripes,
    "waves": _waves,
    "tiles": _tiles,
    "lattice": _lattice,
    "strokes": _strokes,
    "gravel": _gravel,
}


def _draw_background(rng: np.random.Generator, size: int) -> np.ndarray:
    """An ordinary texture; in half of the scenes two of them, separated by a horizon."""
    image = texture(rng, _ordinary_stuff(rng), size)
    if rng.random() < 0.5:
        below = np.arange(size) > size * rng.uniform(0.3, 0.7)
        image[below] = texture(rng, _ordinary_stuff(rng), size)[below]
    return image


def _ordinary_stuff(rng: np.random.Generator) -> Stuff:
    family = list(TEXTURES)[rng.integers(len(TEXTURES))]
    middle = rng.uniform(0.28, 0.44) + rng.uniform(-0.12, 0.12, 3)
    step = rng.uniform(0.15, 0.22) + rng.uniform(-0.04, 0.04, 3)
    period, angle = rng.uniform(5, 9), rng.uniform(0, np.pi)
    return Stuff(family, tuple((middle - step).clip(0, 1)), tuple((middle + step).clip(0, 1)), period, angle)


def _band(rng: np.random.Generator, row: float, size: int) -> np.ndarray:
    """A band across the whole image around a row, with a wavy border: bool [size, size]."""
    y, x = np.mgrid[:size, :size].astype(float)
    half = size * rng.uniform(0.16, 0.22)
    row = np.clip(row, half, size - half)
    border = 0.03 * size * np.sin(2 * np.pi * (x / size * rng.uniform(1, 2) + rng.random()))
    return abs(y - row - border) < half


# --- objects ------------------------------------------------------------------------------------------------------


def _draw_object(rng: np.random.Generator, thing: Thing, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Body and part as bool [size, size], and the part's colours as float [size, size, 3]."""
    shape, middle = SHAPES[_SHAPE_OF_CLASS[CLASSES[thing.class_id - 1]]]
    y, x = np.mgrid[:size, :size].astype(float)
    tilt = rng.uniform(-0.15, 0.15)
    y, x = (y - thing.y) / thing.radius, thing.flip * (x - thing.x) / thing.radius
    y, x = y * np.cos(tilt) - x * np.sin(tilt), x * np.cos(tilt) + y * np.sin(tilt)
    body = shape(y, x)
    y, x = y - middle[0], x - middle[1]
    part = y**2 + x**2 < PART_RADIUS**2
    first, second = PART_COLOURS[thing.class_id - 1]
    pattern = PATTERNS[thing.class_id % len(PATTERNS)](y / PART_RADIUS, x / PART_RADIUS)
    return body, part, np.where(pattern[..., None], first, second)


def _shade(rng: np.random.Generator, colour: tuple[float, float, float], size: int) -> np.ndarray:
    """A plain colour, a little brighter on one side: float [size, size, 3]."""
    y, x = np.mgrid[:size, :size] / size - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    light = 0.15 * (y * np.sin(angle) + x * np.cos(angle)) + rng.uniform(-0.04, 0.04)
    return np.array(colour) + light[..., None]


def _box_shape(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return (abs(x) < 0.95) & (abs(y) < 0.6) & ~((x > 0.45) & (y < -0.2))


def _animal_shape(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    trunk = (x / 0.8) ** 2 + (y / 0.48) ** 2 < 1
    head = (x - 0.65) ** 2 + (y + 0.4) ** 2 < 0.33**2
    legs = (abs(abs(x) - 0.45) < 0.14) & (y > 0) & (y < 0.85)
    return trunk | head | legs


def _winged_shape(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    trunk = (x / 1.0) ** 2 + (y / 0.34) ** 2 < 1
    wings = (abs(y) < 0.85) & (abs(x + 0.25 * abs(y)) < 0.33)
    return trunk | wings


def _seat_shape(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    back = (abs(x + 0.5) < 0.3) & (abs(y) < 0.9)
    seat = (abs(x) < 0.8) & (y > -0.05) & (y < 0.55)
    legs = (abs(x - 0.6) < 0.18) & (y > 0) & (y < 0.9)
    return back | seat | legs


def _upright_shape(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    head = x**2 + (y + 0.62) ** 2 < 0.34**2
    trunk = (abs(x) < 0.5) & (y > -0.4) & (y < 0.95)
    return head | trunk


SHAPES = {
    "box": (_box_shape, (0.15, 0.55)),
    "animal": (_animal_shape, (-0.4, 0.65)),
    "winged": (_winged_shape, (0.0, 0.6)),
    "seat": (_seat_shape, (-0.55, -0.5)),
    "upright": (_upright_shape, (-0.55, 0.0)),
}  # body, and the position (y, x) of its part, in half widths from the middle
_CLASSES_OF_SHAPE = {
    "box": ("bus", "car", "train", "tvmonitor"),
    "animal": ("cat", "cow", "dog", "horse", "sheep"),
    "winged": ("aeroplane", "bird", "boat", "bicycle"),
    "seat": ("chair", "diningtable", "sofa", "motorbike"),
    "upright": ("bottle", "person", "pottedplant"),
}
_SHAPE_OF_CLASS = {name: shape for shape, names in _CLASSES_OF_SHAPE.items() for name in names}
PATTERNS = (
    lambda y, x: y < 0,
    lambda y, x: y**2 + x**2 < 0.36,
    lambda y, x: x < 0,
    lambda y, x: x * y < 0,
)  # where a part has its first colour; y, x in -1..1


def _blur(image: np.ndarray) -> np.ndarray:
    """Soften edges like a lens, with the filter (1, 4, 1) / 6 along both axes."""
    for axis in (0, 1):
        padded = np.pad(image, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        n = image.shape[axis]
        image = (padded.take(range(n), axis) + 4 * image + padded.take(range(2, n + 2), axis)) / 6
    return image


def _box(region: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


# --- files --------------------------------------------------------------------------------------------------------


def _image_id(number: int) -> str:
    return f"2012_{number:06d}"


def _write_ids(root: Path, split: str, numbers: Iterable[int]) -> None:
    text = "".join(f"{_image_id(n)}\n" for n in numbers)
    (root / "ImageSets/Segmentation" / f"{split}.txt").write_text(text, encoding="utf-8")


def _write_scene(root: Path, image_id: str, scene: Scene) -> None:
    Image.fromarray(scene.image).save(root / "JPEGImages" / f"{image_id}.jpg", quality=95, subsampling=0)
    mask = Image.fromarray(scene.mask, mode="P")
    mask.putpalette(voc_palette().tobytes())
    mask.save(root / "SegmentationClass" / f"{image_id}.png")
    Image.fromarray(scene.context).save(root / "ContextMasks" / f"{image_id}.png")
    _annotation(image_id, scene).write(root / "Annotations" / f"{image_id}.xml", encoding="utf-8")


def _annotation(image_id: str, scene: Scene) -> ElementTree.ElementTree:
    height, width = scene.mask.shape
    top = ElementTree.Element("annotation")
    _fields(top, folder="VOC2012", filename=f"{image_id}.jpg")
    _fields(ElementTree.SubElement(top, "size"), width=width, height=height, depth=3)
    _fields(top, segmented=1)
    for class_id, xmin, ymin, xmax, ymax in scene.boxes:
        thing = ElementTree.SubElement(top, "object")
        _fields(thing, name=CLASSES[class_id - 1], pose="Unspecified", truncated=0, difficult=0)
        box = {"xmin": xmin + 1, "ymin": ymin + 1, "xmax": xmax + 1, "ymax": ymax + 1}
        _fields(ElementTree.SubElement(thing, "bndbox"), **box)
    ElementTree.indent(top)
    return ElementTree.ElementTree(top)


def _fields(element: ElementTree.Element, **values: object) -> None:
    for name, value in values.items():
        ElementTree.SubElement(element, name).text = str(value)

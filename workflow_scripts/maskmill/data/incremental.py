"""Class-incremental learning: the classes of a data set arrive in steps, and so do its images, as in BARM's release.

The masks of a step have only its own classes. Everything else in an image, earlier and later classes included, is
background. The channels of a network are the classes in the order in which they are learned.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from maskmill.data.catalog import Dataset, class_ids
from maskmill.data.images import IGNORE
from maskmill.data.index import Record
from maskmill.data.voc import list_sha256, refuse_twins
from maskmill.errors import InputError

Steps = Sequence[Sequence[int]]  # class ids of each step, background (0) not among them, in the order of the channels

# "a-b": a classes in the first step, then b classes per step.
PROTOCOLS = {
    "voc": ("19-1", "15-5", "15-1", "10-1", "5-5", "5-3", "5-1", "2-2", "2-1"),
    "ade20k": ("100-50", "100-10", "100-5", "50-50", "50-20"),
}
CLASSES = {"voc": 20, "ade20k": 150}  # without background
SCHEMES = ("overlapped", "disjoint")

# Orders of VOC's classes that papers average 15-1 over: "15-1_b" to "15-1_w" in the released task lists.
ORDERS = {
    "b": (12, 9, 20, 7, 15, 8, 14, 16, 5, 19, 4, 1, 13, 2, 11, 17, 3, 6, 18, 10),
    "c": (13, 19, 15, 17, 9, 8, 5, 20, 4, 3, 10, 11, 18, 16, 7, 12, 14, 6, 1, 2),
    "d": (15, 3, 2, 12, 14, 18, 20, 16, 11, 1, 19, 8, 10, 7, 17, 6, 5, 13, 9, 4),
    "e": (7, 5, 3, 9, 13, 12, 14, 19, 10, 2, 1, 4, 16, 8, 17, 15, 18, 6, 11, 20),
    "f": (7, 13, 5, 11, 9, 2, 15, 12, 14, 3, 20, 1, 16, 4, 18, 8, 6, 10, 19, 17),
    "g": (7, 5, 9, 1, 15, 18, 14, 3, 20, 10, 4, 19, 11, 17, 16, 12, 8, 6, 2, 13),
    "h": (12, 9, 19, 6, 4, 10, 5, 18, 14, 15, 16, 3, 8, 7, 11, 13, 2, 20, 17, 1),
    "i": (13, 10, 15, 8, 7, 19, 4, 3, 16, 12, 14, 11, 5, 20, 6, 2, 18, 9, 17, 1),
    "j": (1, 14, 9, 5, 2, 15, 8, 20, 6, 16, 18, 7, 11, 10, 19, 3, 4, 17, 12, 13),
    "k": (16, 13, 1, 11, 12, 18, 6, 14, 5, 3, 7, 9, 20, 19, 15, 4, 2, 10, 8, 17),
    "l": (10, 7, 6, 19, 16, 8, 17, 1, 14, 4, 9, 3, 15, 11, 12, 2, 18, 20, 13, 5),
    "m": (18, 4, 14, 17, 12, 10, 7, 3, 9, 1, 8, 15, 6, 13, 2, 5, 11, 20, 16, 19),
    "n": (5, 4, 13, 18, 14, 10, 19, 15, 7, 9, 3, 2, 8, 16, 20, 1, 12, 11, 6, 17),
    "o": (9, 12, 13, 18, 7, 1, 15, 17, 10, 8, 4, 5, 20, 16, 6, 14, 19, 11, 2, 3),
    "p": (9, 12, 13, 18, 2, 11, 15, 17, 10, 8, 4, 5, 20, 16, 6, 14, 19, 1, 7, 3),
    "q": (3, 14, 13, 18, 2, 11, 15, 17, 10, 8, 4, 5, 20, 16, 6, 12, 19, 1, 7, 9),
    "r": (3, 14, 13, 1, 2, 11, 15, 17, 7, 8, 4, 5, 9, 16, 19, 12, 6, 18, 10, 20),
    "s": (3, 14, 6, 1, 2, 11, 12, 17, 7, 20, 4, 5, 9, 16, 19, 15, 13, 18, 10, 8),
    "t": (3, 15, 13, 1, 2, 11, 18, 17, 7, 20, 8, 5, 9, 16, 19, 14, 6, 12, 10, 4),
    "u": (3, 15, 13, 14, 6, 11, 18, 17, 7, 20, 8, 4, 9, 16, 10, 1, 2, 12, 19, 5),
    "v": (1, 2, 12, 14, 6, 19, 18, 17, 5, 20, 8, 4, 9, 16, 10, 3, 15, 13, 11, 7),
    "w": (1, 2, 12, 14, 13, 19, 18, 7, 11, 20, 8, 4, 9, 16, 10, 3, 15, 6, 5, 17),
}


# Classes of the steps


def protocol_steps(dataset: str, protocol: str, order: Sequence[int] | None = None) -> list[tuple[int, ...]]:
    """Class ids of each step of a protocol.

    Args:
        dataset, protocol: keys of `PROTOCOLS`.
        order: all class ids of the data set in the order in which they are learned; default: rising.

    Raises:
        InputError: the data set has no such protocol, or `order` lacks a class or names one twice.
    """
    known = PROTOCOLS.get(dataset, ())
    if protocol not in known:
        there = f"choose one of {', '.join(known)}" if known else "it has none"
        raise InputError(f"config: {dataset} has no class-incremental protocol {protocol!r}; {there}")
    order = tuple(range(1, CLASSES[dataset] + 1) if order is None else order)
    first, later = map(int, protocol.split("-"))
    steps = [order[:first], *(order[start : start + later] for start in range(first, len(order), later))]
    checked = check_steps(steps, CLASSES[dataset])
    if len(order) < CLASSES[dataset]:
        lacking = min(set(range(1, CLASSES[dataset] + 1)) - set(order))
        raise InputError(f"config: the order of {protocol} has no class {lacking}; add it")
    return checked


def task_steps(dataset: Dataset, task: str, own: Mapping[str, Sequence[Sequence[str]]]) -> list[tuple[int, ...]]:
    """Class ids of each step of a task.

    Args:
        task: a protocol; a protocol of VOC with one of `ORDERS`, e.g. "15-1_b"; or a key of `own`.
        own: protocols from the configuration: class names of each step, by task.

    Raises:
        InputError: there is no such task or class, or a class is in two steps.
    """
    if task in own:
        try:
            steps = [class_ids(names, dataset.classes) for names in own[task]]
        except InputError as error:
            raise InputError(f"config: barm.protocols.{task}: {error}") from None
        return check_steps(steps, dataset.num_classes - 1)
    protocol, _, name = task.partition("_")
    if name and (dataset.name != "voc" or name not in ORDERS):
        raise InputError(f"config: {task!r}: there is no order {name!r} of {dataset.name}; voc has {', '.join(ORDERS)}")
    return protocol_steps(dataset.name, protocol, ORDERS.get(name))


def check_steps(steps: Steps, num_classes: int) -> list[tuple[int, ...]]:
    """Check the steps of a protocol, which need not have all classes, and return them as tuples.

    Args:
        num_classes: without background; class ids are 1..num_classes.

    Raises:
        InputError: a step has no class, a class occurs twice, or there is no such class.
    """
    step_of: dict[int, int] = {}
    for number, classes in enumerate(steps):
        if not classes:
            raise InputError(f"config: step {number} has no class; give it one or remove it")
        for class_id in classes:
            if not 1 <= class_id <= num_classes:
                raise InputError(f"config: step {number} has class {class_id}; choose from 1..{num_classes}")
            if class_id in step_of:
                raise InputError(
                    f"config: class {class_id} is listed in step {step_of[class_id]} and in step {number}; "
                    "remove it from one of them"
                )
            step_of[class_id] = number
    return [tuple(classes) for classes in steps]


# Images of the steps


def step_images(presence: Mapping[str, Sequence[int]], steps: Steps, scheme: str = "overlapped") -> list[list[str]]:
    """Image ids of each step, in the order of `presence`.

    Args:
        presence: class ids in each image, by image id; 0 and 255 among them are ignored.
        scheme: `overlapped`: all images with a class of the step; `disjoint`: only those whose classes all belong to
            the step or to earlier ones. The released filter takes all ids below the step's first id for earlier
            classes, which is wrong unless ids rise from step to step; ours uses the classes of the earlier steps.

    Raises:
        InputError: another scheme, or a step has no image.
    """
    if scheme not in SCHEMES:
        raise InputError(f"config: scheme {scheme!r} of class-incremental steps; choose {' or '.join(SCHEMES)}")
    images: list[list[str]] = []
    known = {0, IGNORE}
    for number, classes in enumerate(steps):
        known |= set(classes)
        ids = [image_id for image_id, present in presence.items() if not set(classes).isdisjoint(present)]
        if scheme == "disjoint":
            ids = [image_id for image_id in ids if known.issuperset(presence[image_id])]
        if not ids:
            raise InputError(
                f"step {number}: no image of {len(presence):,} is left for class {', '.join(map(str, classes))} "
                f"({scheme}); merge it with another step or take another scheme"
            )
        images.append(ids)
    return images


def read_presence(path: str | Path) -> dict[str, tuple[int, ...]]:
    """Class ids of each image from a list in the published format (BARM's `train_cls.txt`): per line an image id and
    its class ids minus 1, separated by spaces.

    Raises:
        InputError: the file is missing, names an image twice, or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such list; put an image id and its class ids minus 1 in each line")
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    refuse_twins([row[0] for row in rows], str(path))
    for row in rows:
        wrong = next((word for word in row[1:] if not word.isdecimal()), None)
        if wrong is not None:
            raise InputError(f"{path}: {wrong!r} of image {row[0]} is no class id minus 1 (0, 1, ...); correct it")
    return {image_id: tuple(int(word) + 1 for word in words) for image_id, *words in rows}


def manifest(steps: Steps, images: Sequence[Sequence[str]], scheme: str) -> dict:
    """The contents of the steps, for a JSON file: classes, number of images and SHA-256 of the ids of each."""
    about = [
        {"step": number, "classes": list(classes), "images": len(ids), "sha256": list_sha256(ids)}
        for number, (classes, ids) in enumerate(zip(steps, images, strict=True))
    ]
    return {"scheme": scheme, "steps": about}


# Labels of the steps


def channel_classes(steps: Steps) -> list[int]:
    """Class ids of the channels of a network that has learned all these steps; channel 0 is background."""
    return [0, *(class_id for classes in steps for class_id in classes)]


def channel_table(steps: Steps, step: int | None = None) -> np.ndarray:
    """Table from mask ids to channels, uint8 [256], for `table[mask]`. 255 stays; classes without a channel become 0.

    Args:
        step: give channels only to the classes of this step, as in its training; default: to those of all steps.
    """
    table = np.zeros(256, np.uint8)
    table[IGNORE] = IGNORE
    channels = channel_classes(steps)
    for class_id in channels if step is None else steps[step]:
        table[class_id] = channels.index(class_id)
    return table


class StepLabels(Mapping):
    """The labels of one step: maps an image id to channels, uint8 [H, W]; classes of other steps are background.

    Args:
        masks: maps an image id to the complete mask, class ids uint8 [H, W] (`Masks`).
        steps: of the protocol.
        step: number of the step, from 0.
    """

    def __init__(self, masks: Mapping[str, np.ndarray], steps: Steps, step: int):
        self._masks, self._table = masks, channel_table(steps, step)

    def __getitem__(self, image_id: str) -> np.ndarray:
        return self._table[self._masks[image_id]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)


def step_records(records: Mapping[str, Record], ids: Sequence[str], classes: Sequence[int]) -> list[Record]:
    """Records of the images of a step, with only those tags that are classes of the step.

    Args:
        records: the index.
        ids: images of the step.
        classes: class ids of the step.

    Raises:
        InputError: an id is not in the index.
    """
    missing = next((image_id for image_id in ids if image_id not in records), None)
    if missing is not None:
        raise InputError(f"image {missing} is not in the index; remove its id from the list of the step")
    chosen = [records[image_id] for image_id in ids]
    return [replace(record, classes=tuple(c for c in record.classes if c in classes)) for record in chosen]

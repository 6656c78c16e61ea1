"""What the benchmarks share: pictures to work on, ways measured in turn, tables in Markdown."""

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TypeVar

import numpy as np

from maskmill.data.images import read_mask
from maskmill.data.index import Record
from maskmill.data.sample_scenes import draw_scenes

T = TypeVar("T")
NUM_CLASSES = 21


def arguments(description: str, images: int) -> argparse.ArgumentParser:
    """A parser that knows `--voc` and `--images`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voc", type=Path, help="folder VOC2012; without it, sample scenes of 96 x 96 are drawn")
    parser.add_argument("--images", type=int, default=images, help=f"how many, evenly spaced by name [{images}]")
    return parser


def pictures(voc: Path | None) -> str:
    """The kind of the pictures, for a table."""
    return "scenes" if voc is None else "VOC"


def read_records(voc: Path | None, images: int, folder: str | Path, size: int = 96) -> list[Record]:
    """This number of images with masks, from a folder in VOC's layout or from scenes that are drawn into `folder`.

    Tags are the mask's classes; height and width are the mask's.
    """
    if voc is None:
        voc = Path(folder) / f"scenes_{size}"
        draw_scenes(voc, train_aug=images, train=images, val=0, size=size)
    masks = sorted((voc / "SegmentationClass").glob("*.png"))
    if not masks:
        raise SystemExit(f"error: {voc}/SegmentationClass: no masks in it; name a folder VOC2012 with --voc")
    chosen = [masks[i] for i in np.linspace(0, len(masks) - 1, min(images, len(masks))).round().astype(int)]
    return [_record(voc, mask) for mask in chosen]


def _record(voc: Path, path: Path) -> Record:
    mask = read_mask(path, NUM_CLASSES)
    classes = tuple(int(c) for c in np.unique(mask) if 0 < c < NUM_CLASSES)
    return Record(path.stem, voc / "JPEGImages" / f"{path.stem}.jpg", path, *mask.shape, classes, ())


def more_classes(records: Iterable[Record], num_classes: int) -> list[Record]:
    """The same images with their tags spread over more classes."""
    step = (num_classes - 1) // (NUM_CLASSES - 1)
    return [replace(record, classes=tuple(step * c for c in record.classes)) for record in records]


def in_turn(ways: dict[str, Callable[[T], object]], items: Sequence[T], rounds: int = 1) -> dict[str, np.ndarray]:
    """Seconds of this process's CPU time that every way takes for every item, [rounds * len(items)].

    CPU time, because other processes do not count in it: on an idle machine, one thread takes as long on the clock. All
    ways have an item before the next one, in an order that changes, so that they meet the same disturbances. A first
    item does not count.
    """
    for way in ways.values():
        way(items[0])
    seconds = {name: [] for name in ways}
    for number, item in enumerate(items[i] for _ in range(rounds) for i in range(len(items))):
        for name in np.roll(list(ways), number):
            start = time.process_time()
            ways[name](item)
            seconds[name].append(time.process_time() - start)
    return {name: np.array(values) for name, values in seconds.items()}


def ratio(plain: np.ndarray, ours: np.ndarray) -> float:
    """How many times faster `ours` is: median over the pairs that were measured one after the other."""
    return float(np.median(plain / ours))


def rate(seconds: np.ndarray, images: int = 1) -> float:
    """Images per second of CPU time (median), where each measurement is of this number of images."""
    return images / float(np.median(seconds))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    print(f"\n{title} ({date.today()}, {processor()}, {os.cpu_count()} cores):\n")
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")


def processor() -> str:
    """The processor's name, or its architecture where the system has no name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()

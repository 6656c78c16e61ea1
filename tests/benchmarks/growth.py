"""How the cost of the stages grows with twice the images, twice the classes and twice the side of the images.

    python tests/benchmarks/growth.py [--plot growth.png]

On sample scenes of 64 x 64 pixels with 21 classes. Every stage runs at the base and at each doubling in turn; a factor
is the median of that run's CPU time over the base's. Twice the side is four times the pixels.

Printed: CPU time at the base, and the factors. The plot needs matplotlib.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from cam_inference import both_ways, build_classifier
from confusion import moved
from measuring import NUM_CLASSES, in_turn, more_classes, print_table, ratio, read_records
from training_step import train

from maskmill.data.datasets import Masks, TrainingImages
from maskmill.data.images import IGNORE, read_mask
from maskmill.data.index import Record
from maskmill.data.transforms import Augmentation
from maskmill.evaluation.segmentation import confusion
from maskmill.storage.maps import create_maps, open_maps

IMAGES, SIDE, BATCH = 16, 64, 8
DOUBLED = {  # images, classes, side
    "base": (IMAGES, NUM_CLASSES, SIDE),
    "images": (2 * IMAGES, NUM_CLASSES, SIDE),
    "classes": (IMAGES, 2 * NUM_CLASSES - 1, SIDE),
    "side": (IMAGES, NUM_CLASSES, 2 * SIDE),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", type=Path, help="picture of the factors to write, png, pdf or svg")
    parser.add_argument("--rounds", type=int, default=5, help="[5]")
    options = parser.parse_args()
    torch.set_num_threads(1)
    factors, rows = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for name, prepare in STAGES.items():
            runs = {way: prepare(*size, Path(folder) / name / way) for way, size in DOUBLED.items()}
            seconds = in_turn({way: lambda _, run=run: run() for way, run in runs.items()}, [None], options.rounds)
            factors[name] = {way: ratio(seconds[way], seconds["base"]) for way in ("images", "classes", "side")}
            printed = [f"{factor:.2f}" for factor in factors[name].values()]
            rows.append([name, f"{1000 * np.median(seconds['base']):.1f}", *printed])
    columns = ["stage", f"{IMAGES} images, ms", "2 x images", "2 x classes", "2 x side"]
    print_table(f"Growth, from {IMAGES} images of {SIDE} x {SIDE} pixels and {NUM_CLASSES} classes", columns, rows)
    if options.plot:
        draw(factors, options.plot)


def scenes(images: int, num_classes: int, side: int, folder: Path) -> list[Record]:
    return more_classes(read_records(None, images, folder, side), num_classes)


def cams(images: int, num_classes: int, side: int, folder: Path) -> Callable[[], None]:
    way = both_ways(build_classifier("sample_cnn", num_classes), [1.0, 1.5])["maskmill"]
    records = scenes(images, num_classes, side, folder)
    return lambda: [way(record) for record in records]


def reading(images: int, num_classes: int, side: int, folder: Path) -> Callable[[], None]:
    records = scenes(images, num_classes, side, folder)
    with create_maps(folder / "labels.h5", "label", producer="growth") as store:
        for record in records:
            store.write(record.image_id, truth(record, num_classes))
    labels = open_maps(folder / "labels.h5")
    return lambda: [labels[record.image_id] for record in records]


def training_input(images: int, num_classes: int, side: int, folder: Path) -> Callable[[], None]:
    records = scenes(images, num_classes, side, folder)
    masks, half = Masks(records, num_classes), (0.5, 0.5, 0.5)
    data = TrainingImages(records, augmentation(side), half, half, num_classes=num_classes, labels=masks)
    return lambda: [data.sample(i, np.random.default_rng(i)) for i in range(len(data))]


def counting(images: int, num_classes: int, side: int, folder: Path) -> Callable[[], None]:
    truths = [truth(record, num_classes) for record in scenes(images, num_classes, side, folder)]
    pairs = [(labels, moved(labels)) for labels in truths]
    return lambda: sum(confusion(*maps, num_classes) for maps in pairs)


def training(images: int, num_classes: int, side: int, folder: Path) -> Callable[[], None]:
    records, epochs = scenes(images, num_classes, side, folder), 2
    return lambda: train(records, augmentation(side), folder, epochs * images // BATCH, BATCH, num_classes=num_classes)


def augmentation(side: int) -> Augmentation:
    return Augmentation(crop=side, long_side=(side * 7 // 8, side * 9 // 8))


def truth(record: Record, num_classes: int) -> np.ndarray:
    """The mask with its ids spread over more classes, as `more_classes` does the tags."""
    mask = read_mask(record.mask, NUM_CLASSES)
    return np.where(mask == IGNORE, IGNORE, mask * ((num_classes - 1) // (NUM_CLASSES - 1))).astype(np.uint8)


STAGES = {
    "activation maps": cams,
    "reading labels": reading,
    "training input": training_input,
    "confusion matrix": counting,
    "two epochs of training": training,
}


def draw(factors: dict[str, dict[str, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(factors), figsize=(3 * len(factors), 3), sharey=True, layout="constrained")
    for panel, (name, values) in zip(panels, factors.items(), strict=True):
        panel.bar([f"2x {what}" for what in values], values.values(), color=["C0", "C1", "C2"])
        panel.set_title(name)
        for level in (1, 2, 4):
            panel.axhline(level, color="grey", linewidth=0.5)
    panels[0].set_ylabel("times the CPU time")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()

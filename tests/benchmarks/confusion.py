"""Images per second of counting a confusion matrix: maskmill's `confusion` against numpy's bincount, image by image.

    python tests/benchmarks/confusion.py [--voc VOC2012]

The plain loop is that of public evaluations: the truth's valid pixels, times the classes, plus the prediction. Maps
are in memory; predictions are the masks moved by some pixels, or random ones. The counts are the same.

Printed: images per second of CPU time (median), and how many times faster maskmill is.
"""

import tempfile

import numpy as np
from measuring import NUM_CLASSES, arguments, in_turn, pictures, print_table, rate, ratio, read_records

from maskmill.data.images import IGNORE, read_mask
from maskmill.evaluation.segmentation import confusion


def main():
    options = arguments(__doc__, images=60).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        masks = [read_mask(record.mask, NUM_CLASSES) for record in read_records(options.voc, options.images, folder)]
    noise = np.random.default_rng(0)
    predictions = {
        "moved masks": [moved(mask) for mask in masks],
        "random": [noise.integers(NUM_CLASSES, size=mask.shape, dtype=np.uint8) for mask in masks],
    }
    rows = []
    for name, maps in predictions.items():
        rows.append([pictures(options.voc), name, *measured(list(zip(masks, maps, strict=True)))])
    columns = [
        "pictures",
        "predictions",
        "mean size",
        "images",
        "bincount loop, images/s",
        "maskmill, images/s",
        "ratio",
    ]
    print_table("Confusion matrices", columns, rows)


def measured(pairs: list[tuple[np.ndarray, np.ndarray]]) -> list:
    """A row of the table, of pairs of truth and prediction."""
    ways = {
        "plain": lambda maps: plain_counts(*maps, NUM_CLASSES),
        "maskmill": lambda maps: confusion(*maps, NUM_CLASSES),
    }
    if not all(np.array_equal(ways["plain"](maps), ways["maskmill"](maps)) for maps in pairs):
        raise SystemExit("error: the counts differ")
    seconds = in_turn(ways, pairs, rounds=5)
    height, width = np.mean([truth.shape for truth, _ in pairs], axis=0)
    rates = [f"{rate(seconds[name]):.0f}" for name in ways]
    return [f"{height:.0f} x {width:.0f}", len(pairs), *rates, f"{ratio(seconds['plain'], seconds['maskmill']):.2f}"]


def moved(mask: np.ndarray) -> np.ndarray:
    """A prediction that is mostly right."""
    rolled = np.roll(mask, 9, axis=1)
    return np.where(rolled == IGNORE, 0, rolled).astype(np.uint8)


def plain_counts(truth: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    valid = truth < num_classes
    pairs = num_classes * truth[valid].astype(int) + prediction[valid]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


if __name__ == "__main__":
    main()

"""Labels read per second: a map store (HDF5) against PNG files, in the order of the list and at random.

    python tests/benchmarks/label_reading.py [--voc VOC2012]

Both are read by torch's DataLoader with 1 and 2 workers, in batches of 16; a worker hands back the sum of each label
map, so that reading is measured, not transport. Files are in the system's cache. The store and the files take turns;
a pass does not count before its workers have handed over their first batch.

Printed: labels per second on the clock (median of the passes) and how many times faster the store is (median over pairs
of passes). Both give the same labels.
"""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from measuring import NUM_CLASSES, arguments, pictures, print_table, ratio, read_records
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from maskmill.data.datasets import Masks
from maskmill.data.index import Record
from maskmill.storage.maps import create_maps, open_maps

BATCH = 16


class Sums(Dataset):
    """Image id and sum of each label map."""

    def __init__(self, labels: Mapping[str, np.ndarray], ids: list[str]):
        self.labels, self.ids = labels, ids

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[str, int]:
        return self.ids[index], int(self.labels[self.ids[index]].sum())


def main():
    parser = arguments(__doc__, images=320)
    parser.add_argument("--passes", type=int, default=5, help="over all labels, for each way [5]")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        records = read_records(options.voc, options.images, folder)
        ways = both_ways(records, Path(folder))
        for order in ("in order", "at random"):
            for workers in (1, 2):
                seconds = {name: [] for name in ways}
                for number in range(options.passes):
                    ids = [record.image_id for record in records]
                    if order == "at random":
                        np.random.default_rng(number).shuffle(ids)
                    for name in np.roll(list(ways), number):
                        seconds[name].append(one_pass(ways[name], ids, workers))
                taken = {name: np.array(values) for name, values in seconds.items()}
                speeds = [f"{(len(ids) - BATCH) / np.median(taken[name]):.0f}" for name in ("png", "store")]
                speeds.append(f"{ratio(taken['png'], taken['store']):.2f}")
                rows.append([pictures(options.voc), order, workers, len(ids), *speeds])
    columns = ["pictures", "order", "workers", "labels", "PNG files, labels/s", "map store, labels/s", "ratio"]
    print_table("Reading labels", columns, rows)


def both_ways(records: list[Record], folder: Path) -> dict[str, Mapping[str, np.ndarray]]:
    """Image id to label map uint8 [H, W]: from PNG files and from a store, both written here."""
    masks, copies = Masks(records, NUM_CLASSES), []
    (folder / "png").mkdir()
    with create_maps(folder / "labels.h5", "label", producer="label_reading") as store:
        for record in records:
            mask = masks[record.image_id]
            path = folder / "png" / f"{record.image_id}.png"
            Image.fromarray(mask).save(path)
            copies.append(Record(record.image_id, record.image, path, *mask.shape, record.classes, ()))
            store.write(record.image_id, mask)
    return {"png": Masks(copies, NUM_CLASSES), "store": open_maps(folder / "labels.h5")}


def one_pass(labels: Mapping[str, np.ndarray], ids: list[str], workers: int) -> float:
    """Seconds from the first batch to the last."""
    batches = iter(DataLoader(Sums(labels, ids), batch_size=BATCH, num_workers=workers))
    next(batches)
    start = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

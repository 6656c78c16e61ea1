"""What a training spends outside its network, and how long a stage takes to start.

    python tests/benchmarks/training_step.py [--voc VOC2012 --crop 224 --long-side 224 448 --workers 1]

The training is a real one, by `maskmill.training.loop.train`: the student of the sample scale with its moving average,
on masks. An iteration lasts from one forward pass to the next. Times are this process's CPU time, or, where workers
prepare the batches, time on the clock. The first iterations do not count.

Starts are whole processes, in turn: Python alone, `--help` of a stage without networks, and that stage on one image.

Printed: medians over the iterations, or over the starts.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from measuring import NUM_CLASSES, arguments, pictures, print_table, read_records

from maskmill.data.datasets import Masks, TrainingImages
from maskmill.data.images import read_mask
from maskmill.data.index import Record, write_index
from maskmill.data.transforms import Augmentation
from maskmill.networks.deeplab import DeepLabV3Plus
from maskmill.storage.maps import create_maps
from maskmill.training import loop
from maskmill.training.ema import EMA
from maskmill.training.optimizers import build_optimizer
from maskmill.training.schedules import poly
from maskmill.training.student import cross_entropy_step

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow_scripts"
WARM_UP = 3  # iterations
PARTS = ("forward", "backward", "data")


def main():
    parser = arguments(__doc__, images=64)
    parser.add_argument("--crop", type=int, default=96, help="[96]")
    parser.add_argument("--long-side", type=int, nargs=2, default=(80, 112), help="range, pixels [80 112]")
    parser.add_argument("--batch", type=int, default=16, help="[16]")
    parser.add_argument("--iterations", type=int, default=20, help="[20]")
    parser.add_argument("--workers", type=int, default=0, help="that prepare batches [0]")
    parser.add_argument("--starts", type=int, default=5, help="of each process [5]")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        records = read_records(options.voc, options.images, folder)
        augmentation = Augmentation(crop=options.crop, long_side=tuple(options.long_side))
        spent = train(records, augmentation, folder, options.iterations, options.batch, options.workers)
        starts = measure_starts(commands(records[0], Path(folder)), options.starts)
    print_training(options, spent)
    rows = [[name, f"{np.median(clock):.2f}", f"{np.median(cpu):.2f}"] for name, (clock, cpu) in starts.items()]
    print_table("Starts of whole processes", ["process", "on the clock, s", "CPU time, s"], rows)


def print_training(options, spent: dict[str, np.ndarray]) -> None:
    total = spent["iteration"]
    shares = {part: 100 * np.median(spent[part] / total) for part in PARTS}
    outside = 100 * np.median(1 - (spent["forward"] + spent["backward"]) / total)
    row = [pictures(options.voc), options.crop, options.batch, options.workers, f"{1000 * np.median(total):.0f}"]
    row += [f"{shares[part]:.1f}" for part in PARTS] + [f"{outside - shares['data']:.1f}", f"{outside:.1f}"]
    columns = ["pictures", "crop", "batch", "workers", "iteration, ms", "forward, %", "backward, %", "data, %"]
    print_table("One training", [*columns, "optimiser, average, log, %", "outside the network, %"], [row])


def train(
    records: list[Record],
    augmentation: Augmentation,
    folder: str | Path,
    iterations: int,
    batch_size: int,
    workers: int = 0,
    num_classes: int = NUM_CLASSES,
) -> dict[str, np.ndarray]:
    """Seconds of `PARTS` and of the whole `iteration`, for each that counts."""
    torch.manual_seed(0)
    network = DeepLabV3Plus("sample_cnn", num_classes, rates=(2, 4), width=32, low_level_width=16)
    average = EMA(network, decay=0.98, ramp=50)
    images = TrainingImages(
        records,
        augmentation,
        network.backbone.mean,
        network.backbone.std,
        num_classes=num_classes,
        labels=Masks(records, num_classes),
    )
    groups = [{"params": network.parameters(), "lr": 1e-3, "weight_decay": 0.01}]
    with watched(time.perf_counter if workers else time.process_time) as (watch, spent, marks):
        step = watch("forward", cross_entropy_step(average.module))

        def marked(model, batch):
            marks.append(spent["clock"]())
            return step(model, batch)

        loop.train(
            network,
            marked,
            build_optimizer(groups, name="adamw"),
            poly(iterations),
            images,
            checkpoint=Path(folder) / f"network_{num_classes}_{augmentation.crop}.safetensors",
            run="benchmark",
            iterations=iterations,
            batch_size=batch_size,
            seed=0,
            ema=average,
            accelerator="cpu",
            workers=workers,
        )
    # Iteration k: forward and backward k, then the data of k + 1.
    parts = {"forward": spent["forward"], "backward": spent["backward"], "data": spent["data"][1:]}
    counted = slice(WARM_UP, iterations - 1)
    return {name: np.array(part)[counted] for name, part in parts.items()} | {"iteration": np.diff(marks)[WARM_UP:]}


@contextmanager
def watched(clock: Callable[[], float]) -> Iterator[tuple]:
    """While it lasts, backward passes and the making of batches of `loop.train` are timed."""
    spent: dict = {"clock": clock, **{part: [] for part in PARTS}}

    def watch(part: str, function: Callable) -> Callable:
        def run(*arguments, **options):
            start = clock()
            result = function(*arguments, **options)
            spent[part].append(clock() - start)
            return result

        return run

    def batches(*arguments, **options):
        following = watch("data", iter(batches_of(*arguments, **options)).__next__)
        while True:
            try:
                yield following()
            except StopIteration:
                return

    batches_of = loop.draw_batches
    with (
        mock.patch.object(loop, "draw_batches", batches),
        mock.patch.object(torch.Tensor, "backward", watch("backward", torch.Tensor.backward)),
    ):
        yield watch, spent, []


def commands(record: Record, folder: Path) -> dict[str, list[str]]:
    write_index(folder / "index.csv", [record])
    (folder / "ids.txt").write_text(record.image_id)
    with create_maps(folder / "prediction.h5", "label", producer="training_step") as store:
        store.write(record.image_id, np.minimum(read_mask(record.mask, NUM_CLASSES), NUM_CLASSES - 1))
    files = {"index": "index.csv", "ids": "ids.txt", "maps": "prediction.h5"}
    files |= {"scores-table": "scores.csv", "confusion-table": "confusion.csv"}
    options = [word for name, file in files.items() for word in (f"--{name}", str(folder / file))]
    stage = [sys.executable, str(SCRIPTS / "results/evaluate.py")]
    return {
        "Python alone": [sys.executable, "-c", "pass"],
        "`evaluate.py --help`": [*stage, "--help"],
        "`evaluate.py` on one image": [*stage, "--dataset", "voc", *options],
    }


def measure_starts(runs: dict[str, list[str]], times: int) -> dict[str, tuple[list[float], list[float]]]:
    """Seconds on the clock and of CPU time of every process; each is started `times` times, in turn."""
    taken: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in runs}
    for _ in range(times):
        for name, command in runs.items():
            start, before = time.perf_counter(), os.times()
            subprocess.run(command, check=True, capture_output=True)
            after = os.times()
            taken[name][0].append(time.perf_counter() - start)
            taken[name][1].append(sum(after[2:4]) - sum(before[2:4]))
    return taken


if __name__ == "__main__":
    main()

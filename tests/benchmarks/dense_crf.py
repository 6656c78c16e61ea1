"""Speed and agreement of the dense CRF's backends on the images of a folder.

    python tests/benchmarks/dense_crf.py VOC2012/JPEGImages --checkpoint student.safetensors --images 40

The student's softmax scores at the images' own size are the CRF's input. Every worker runs all backends on one image
before it takes the next, in an order that changes from image to image, so that they meet the same disturbances.

Printed for each setting: images/s of all processes together (wall time of the CRF alone, inputs ready); how many times
faster `fast` is; pixels with the argmax of pydensecrf with all planes, mean |dQ| and the greatest |dQ|; what `fast`
spends its time on; and the peak memory of a process that runs nothing else. `reduced` is pydensecrf on the planes that
`fast` filters (two at least).
"""

import argparse
import multiprocessing
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from maskmill.data.images import read_image
from maskmill.errors import InputError
from maskmill.processes import return_freed_memory
from maskmill.refinement import dense_crf as crf
from maskmill.refinement import permutohedral

SETTINGS = {  # gaussian sxy, compat; bilateral sxy, srgb, compat
    "deeplab (scores)": (1, 3, 67, 3, 4),
    "irn (labels)": (3, 3, 50, 5, 10),
    "psa (scores)": (3, 3, 80, 13, 10),
}
NAMES = ("gaussian_sxy", "gaussian_compat", "bilateral_sxy", "bilateral_srgb", "bilateral_compat")
PARTS = {  # what the time of `fast` is split into: functions, of which the later may run inside the earlier
    "build": (crf, "_bilateral_lattice"),
    "normalisation": (permutohedral, "filter_planes"),
    "iterations": (crf, "mean_field"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of images (jpg, png)")
    parser.add_argument("--checkpoint", type=Path, required=True, help="trained DeepLabV3+ (student.safetensors)")
    parser.add_argument("--images", type=int, default=20, help="how many, evenly spaced by name [20]")
    parser.add_argument("--processes", type=int, default=2, help="worker processes, one thread each [2]")
    arguments = parser.parse_args()
    paths = sorted(p for p in arguments.folder.glob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not paths:
        parser.error(f"{arguments.folder}: no jpg or png image in it")
    paths = [paths[i] for i in np.linspace(0, len(paths) - 1, min(arguments.images, len(paths))).round().astype(int)]
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        inputs = [Path(folder) / f"{path.stem}.npz" for path in paths]
        with ProcessPoolExecutor(1, spawn) as pool:
            try:
                pool.submit(save_scores, paths, inputs, arguments.checkpoint).result()
            except InputError as error:
                parser.error(str(error))
        warm_up()
        shards = [inputs[i :: arguments.processes] for i in range(arguments.processes)]
        with ProcessPoolExecutor(arguments.processes, spawn) as pool:
            rows = [row for shard in pool.map(compare, shards) for row in shard]
        memory = {}
        for name in SETTINGS:
            with ProcessPoolExecutor(1, spawn) as pool:
                memory[name] = pool.submit(peak_memory, inputs, name).result()
    for name in SETTINGS:
        report(name, [row for row in rows if row["setting"] == name], arguments.processes)
        print(f"  peak memory {memory[name]:.0f} MB")


def save_scores(paths: list[Path], outputs: list[Path], checkpoint: Path) -> None:
    """In a process of its own, because torch stays out of those that are measured."""
    import torch
    from torch.nn import functional as F

    from maskmill.data.transforms import network_input
    from maskmill.networks.deeplab import DeepLabV3Plus
    from maskmill.storage.checkpoints import load_network

    model = load_network(checkpoint, DeepLabV3Plus)
    with torch.inference_mode():
        for path, output in zip(paths, outputs, strict=True):
            image = read_image(path)
            logits = model(network_input(image, model.backbone.mean, model.backbone.std))
            scores = F.interpolate(logits, image.shape[:2], mode="bilinear").softmax(dim=1)[0]
            np.savez(output, image=image, scores=scores.numpy())


def read_input(path: Path, name: str) -> tuple[np.ndarray, np.ndarray, dict]:
    """Image, unary energies and arguments of `dense_crf`."""
    with np.load(path) as arrays:
        image, scores = arrays["image"], arrays["scores"]
    of_labels = "labels" in name
    unary = crf.label_unary(scores.argmax(axis=0), len(scores)) if of_labels else crf.probability_unary(scores)
    return image, unary, {**dict(zip(NAMES, SETTINGS[name], strict=True)), "iterations": 10}


def warm_up() -> None:
    """Compile, or load from numba's cache, the kernels for every number of planes; memory as in the stages."""
    return_freed_memory()
    image, arguments = np.zeros((8, 8, 3), np.uint8), {**dict.fromkeys(NAMES, 3), "iterations": 1}
    for planes in range(2, 22):
        unary = np.random.default_rng(0).random((planes, 64))
        for backend in crf.BACKENDS:
            crf.dense_crf(image, unary, **arguments, backend=backend)


def compare(paths: list[Path]) -> list[dict]:
    warm_up()
    spent = defaultdict(float)
    for part, (module, function) in PARTS.items():
        setattr(module, function, timed(getattr(module, function), part, spent))
    rows = []
    for number, path in enumerate(paths):
        for name in SETTINGS:
            image, unary, arguments = read_input(path, name)
            crf._spatial_lattice(*image.shape[:2], arguments["gaussian_sxy"])
            merged = crf._merged_planes(unary, crf.survey(unary)[1])
            live = np.setdiff1d(np.arange(len(unary)), merged)
            reduced = unary[live if len(live) > 1 else [*live, merged[0]]]
            runs = {"all planes": (unary, "pydensecrf"), "reduced": (reduced, "pydensecrf"), "fast": (unary, "fast")}
            row, q = {"setting": name, "live": len(live)}, {}
            for run in np.roll(list(runs), number):
                planes, backend = runs[run]
                spent.clear()
                start = time.perf_counter()
                q[run] = crf.dense_crf(image, planes, **arguments, backend=backend)
                row[run] = time.perf_counter() - start
                if run == "fast":
                    row |= spent
            change = np.abs(q["fast"] - q["all planes"])
            row |= {"agreement": (q["fast"].argmax(0) == q["all planes"].argmax(0)).mean()}
            rows.append(row | {"mean_change": change.mean(), "most_change": change.max()})
    return rows


def timed(function, part: str, spent: dict):
    def run(*arguments):
        start = time.perf_counter()
        result = function(*arguments)
        spent[part] += time.perf_counter() - start
        return result

    return run


def peak_memory(paths: list[Path], name: str) -> float:
    return_freed_memory()
    for path in paths:
        image, unary, arguments = read_input(path, name)
        crf.dense_crf(image, unary, **arguments)
    # Linux only; getrusage would give a new process the peak of the one that started it.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def report(name: str, rows: list[dict], processes: int) -> None:
    total = {key: sum(row[key] for row in rows) for key in rows[0] if key != "setting"}
    speed = {run: processes * len(rows) / total[run] for run in ("all planes", "reduced", "fast")}
    milliseconds = {key: 1000 * total[key] / len(rows) for key in ("fast", *PARTS)}
    milliseconds["build"] -= milliseconds["normalisation"]
    milliseconds["other"] = 2 * milliseconds["fast"] - sum(milliseconds.values())
    print(f"\n{name}: {len(rows)} images, {total['live'] / len(rows):.1f} planes filtered on average")
    print("  images/s    " + ", ".join(f"{run} {value:.2f}" for run, value in speed.items()))
    print(f"  fast is     {speed['fast'] / speed['all planes']:.1f} times all planes, ", end="")
    print(f"{speed['fast'] / speed['reduced']:.1f} times reduced")
    print(f"  same argmax {100 * total['agreement'] / len(rows):.4f} % ", end="")
    print(f"(least {100 * min(row['agreement'] for row in rows):.3f} %), ", end="")
    print(f"mean |dQ| {total['mean_change'] / len(rows):.1e}, most {max(row['most_change'] for row in rows):.1e}")
    print("  fast, ms    " + ", ".join(f"{part} {value:.0f}" for part, value in milliseconds.items() if part != "fast"))


if __name__ == "__main__":
    main()

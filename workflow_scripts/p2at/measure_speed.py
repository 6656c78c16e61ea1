"""Measure how fast trained networks are on this machine, in each way that they can be run.

In: checkpoints of the variants.
Out: a table with one row per variant and way. Each of `passes` rounds runs every way once, in turn and in one process,
    so that what else the machine does meets all ways alike. An input is one image of random values in memory; logits
    have the image's size. `speedup` is the median latency of the way `eager` over that of the row.
"""

import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from maskmill.evaluation.cost import device_name, macs, parameters
from maskmill.networks.deploy import deployed, export_onnx
from maskmill.networks.device import inference_device
from maskmill.networks.segmentation import load_segmentation, logits_of
from maskmill.progress import progress
from maskmill.storage.atomic import atomic_path
from maskmill.storage.onnx_models import OnnxModel
from maskmill.workflow import stage

logger = logging.getLogger(__name__)

Pass = Callable[[], object]

# What each way does to the network. `eager` is the network as trained, without its auxiliary heads.
WAYS = {
    "eager": {},
    "folded": {"folded": True},
    "fused": {"folded": True, "bn_fused": True},
    "channels_last": {"folded": True, "bn_fused": True, "channels_last": True},
    "bfloat16": {"folded": True, "bn_fused": True, "channels_last": True, "dtype": "bfloat16"},
    "compiled": {"folded": True, "bn_fused": True, "channels_last": True},
    "onnxruntime": {"folded": True, "bn_fused": True},
}
UNCHANGED = {"folded": False, "bn_fused": False, "channels_last": False, "dtype": "float32"}


def main(
    checkpoints: list[str],
    variants: list[str],
    speed_table: str,
    dataset: str,
    scale: str,
    method: str,
    size: list[int],
    ways: list[str],
    warm_up: int,
    passes: int,
    threads: int = 1,
) -> None:
    """Measure all variants, one after the other.

    Args:
        checkpoints: safetensors files of trained segmentation networks.
        variants: names of the networks, in the order of the checkpoints.
        speed_table: CSV to write: the protocol of the measurement, parameters (millions), MACs (billions), latency
            (ms).
        size: height and width of the image in pixels.
        ways: ways to run a network: eager, folded, fused, channels_last, bfloat16, compiled, onnxruntime.
        warm_up: rounds that do not count.
        passes: rounds that count.
        threads: threads of the CPU.
    """
    torch.set_num_threads(threads)
    rows = []
    for variant, checkpoint in zip(variants, checkpoints, strict=True):
        network = load_segmentation(checkpoint)
        with tempfile.TemporaryDirectory() as folder:
            prepared = {way: prepare(network, way, size, threads, Path(folder)) for way in ways}
        prepared = {way: ready for way, ready in prepared.items() if ready}
        latencies = measure({way: run for way, (run, _) in prepared.items()}, warm_up, passes, variant)
        constants = {
            **{"method": method, "dataset": dataset, "scale": scale, "variant": variant},
            **{"height": size[0], "width": size[1], "batch": 1, "includes_upsample": True},
            **{"warm_up": warm_up, "passes": passes, "threads": threads},
        }
        for way, (_, facts) in prepared.items():
            rows.append({**constants, "way": way, **UNCHANGED, **WAYS[way], **facts, **summary(latencies[way])})
            rows[-1]["speedup"] = statistics.median(latencies["eager"]) / rows[-1]["latency_ms"]
    table = pd.DataFrame(rows)
    with atomic_path(speed_table) as path:
        table.to_csv(path, index=False, float_format="%.4g")
    columns = ["variant", "way", "device", "parameters_m", "gmacs", "latency_ms", "latency_p95_ms", "fps", "speedup"]
    print(f"\n{speed_table}\n{table[columns].to_string(index=False, float_format='%.4g')}\n", flush=True)


def prepare(network: nn.Module, way: str, size: list[int], threads: int, folder: Path) -> tuple[Pass, dict] | None:
    """A function that runs one pass of a network, and the pass's costs and device; None, with a warning, where this
    machine cannot run it."""
    changes = {**UNCHANGED, **WAYS[way]}
    model = deployed(network, fold=changes["folded"], fuse=changes["bn_fused"])
    facts = {"parameters_m": parameters(model) / 1e6, "gmacs": gmacs(network, changes["folded"], *size)}
    device, pixels = inference_device(), torch.rand(1, 3, *size)
    if way == "onnxruntime":
        # A file for this size alone is exported sooner, and its latency is that of a file for any size.
        about = {"classes": [], "colours": [], "short_side": None}
        export_onnx(model, folder / "network.onnx", about, only_size=(size[0], size[1]))
        exported, array = OnnxModel(folder / "network.onnx", threads), pixels.numpy()
        return lambda: exported.logits(array), {**facts, "device": device_name(exported.on_gpu)}
    facts = {**facts, "device": device_name(device.type == "cuda")}
    if changes["dtype"] == "bfloat16" and not has_bfloat16(device):
        logger.warning("%s: left out, %s has no bfloat16", way, facts["device"])
        return None
    memory_format = torch.channels_last if changes["channels_last"] else torch.contiguous_format
    placement = {"device": device, "dtype": getattr(torch, changes["dtype"]), "memory_format": memory_format}
    model, pixels = model.to(**placement), pixels.to(**placement)
    model = torch.compile(model) if way == "compiled" else model

    @torch.inference_mode()
    def one_pass() -> None:
        logits_of(model, pixels)
        if device.type == "cuda":
            torch.cuda.synchronize()

    if way == "compiled":
        try:
            one_pass()
        except Exception as error:  # torch.compile needs a compiler, and its errors are of many types
            logger.warning("%s: left out, torch.compile fails here (%s)", way, str(error).strip().splitlines()[0])
            return None
    return one_pass, facts


@lru_cache(maxsize=2)  # counting takes long, several ways cost the same, and batch norms do not count
def gmacs(network: nn.Module, folded: bool, height: int, width: int) -> float:
    return macs(deployed(network, fold=folded, fuse=False), height, width) / 1e9


def measure(runs: dict[str, Pass], warm_up: int, passes: int, title: str) -> dict[str, list[float]]:
    """Milliseconds of every counted pass of each run."""
    latencies = {way: [] for way in runs}
    for _ in progress(range(warm_up + passes), f"speed {title}", unit="round"):
        for way, run in runs.items():
            start = time.perf_counter()
            run()
            latencies[way].append(1000 * (time.perf_counter() - start))
    return {way: values[warm_up:] for way, values in latencies.items()}


def summary(milliseconds: list[float]) -> dict[str, float]:
    median = statistics.median(milliseconds)
    return {"latency_ms": median, "latency_p95_ms": float(np.percentile(milliseconds, 95)), "fps": 1000 / median}


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16, not only stores it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

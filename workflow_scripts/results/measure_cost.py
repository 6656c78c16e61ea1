"""Measure what a trained network costs: parameters, multiply-accumulates and latency on this machine.

In: checkpoint.
Out: a table. Multiply-accumulates are counted with and without those of norms. Latency is the median over passes of
    one square image through one process.
"""

import statistics
import time

import pandas as pd
import torch

from maskmill.evaluation.cost import device_name, macs, parameters
from maskmill.networks.device import inference_device
from maskmill.networks.segmentation import load_segmentation
from maskmill.storage.atomic import atomic_path
from maskmill.workflow import stage


@torch.inference_mode()
def main(checkpoint: str, cost_table: str, size: int, passes: int = 10, warm_up: int = 3) -> None:
    """Measure one network.

    Args:
        checkpoint: safetensors file of a trained segmentation network.
        cost_table: CSV to write, with columns metric, class_name, value, device, threads.
        size: pixels; side of the image.
        passes: passes that count.
        warm_up: passes before them, which do not count.
    """
    device = inference_device()
    model = load_segmentation(checkpoint).to(device)
    pixels, milliseconds = torch.zeros(1, 3, size, size, device=device), []
    for _ in range(warm_up + passes):
        start = time.perf_counter()
        model(pixels)
        if device.type == "cuda":
            torch.cuda.synchronize()
        milliseconds.append(1000 * (time.perf_counter() - start))
    costs = {
        "parameters_m": parameters(model) / 1e6,
        f"latency_ms_{size}": statistics.median(milliseconds[warm_up:]),
        f"gmacs_{size}": macs(model, size, size) / 1e9,
        f"gmacs_with_norms_{size}": macs(model, size, size, count_norms=True) / 1e9,
    }
    measured_on = {"device": device_name(device.type == "cuda"), "threads": torch.get_num_threads()}
    rows = [{"metric": metric, "class_name": "", "value": value, **measured_on} for metric, value in costs.items()]
    with atomic_path(cost_table) as path:
        pd.DataFrame(rows).to_csv(path, index=False)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

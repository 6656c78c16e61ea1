"""One training over several processes gives what one process gives (two CPU processes stand in for two GPUs)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maskmill.data.shards import Pair, write_indexed_shard
from maskmill.networks.clip import TinyCLIP
from maskmill.networks.zeroseg import ZeroSeg
from maskmill.storage.checkpoints import load_network, load_tensors, save_network
from maskmill.training.loop import resume_path
from open_vocabulary import cache_views

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow

SCRIPT = """
import sys
import numpy as np
import torch
from torch import nn
from maskmill.training.ema import EMA
from maskmill.training.loop import train
from maskmill.training.schedules import constant

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.arguments = {}
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, x):
        return self.layers(x)

class Points:
    def __len__(self):
        return 12

    def sample(self, index, rng):
        return {"x": torch.tensor(rng.normal(size=4) + index / 12, dtype=torch.float32)}

torch.manual_seed(0)
network, teacher = Net(), Net().requires_grad_(False)

def step(model, batch):
    difference = model(batch["x"]) - teacher(batch["x"])
    return {"square": (difference[:, 0].square() * batch["stored"]).mean()}

train(
    network,
    step,
    torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9),
    constant,
    Points(),
    ema=EMA(network, decay=0.9),
    state=teacher,
    stored=lambda iteration: {"stored": iteration + np.arange(4, dtype=np.float32)},
    checkpoint=sys.argv[1],
    run="run",
    iterations=10,
    batch_size=4,
    seed=1,
    accelerator="cpu",
    devices=int(sys.argv[2]),
    max_minutes=float(sys.argv[3]),
)
"""
# What a process finds in a SLURM job of one task: Lightning must not wait for SLURM to start the second.
IN_A_JOB = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "1", "SLURM_NNODES": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
IN_A_JOB |= {"SLURM_NODEID": "0", "SLURM_JOB_NAME": "maskmill", "SLURM_NODELIST": "n1"}
FOR_EVER = 1800  # seconds: processes that wait for each other would never end


def fit(folder, name, devices, max_minutes=60.0):
    (folder / "run.py").write_text(SCRIPT)
    command = [sys.executable, str(folder / "run.py"), str(folder / name), str(devices), str(max_minutes)]
    environment = {**os.environ, **IN_A_JOB, "PYTHONPATH": str(ROOT / "workflow_scripts")}
    return subprocess.run(command, capture_output=True, text=True, timeout=FOR_EVER, check=False, env=environment)


def test_two_processes_share_each_batch_and_end_where_one_does(tmp_path):
    """Batch norm included, a teacher's too: mean and variance are those of the whole batch."""
    for devices in (1, 2):
        done = fit(tmp_path, f"{devices}.safetensors", devices)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (load_tensors(tmp_path / f"{devices}.safetensors")[0] for devices in (1, 2))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6)
    assert not list(tmp_path.glob("*.resume"))


def test_two_processes_pause_at_one_iteration_and_leave_a_state(tmp_path):
    done = fit(tmp_path, "paused", 2, max_minutes=1e-9)
    assert "paused at iteration 1 of 10" in done.stderr and "iteration 2" not in done.stderr
    assert load_tensors(resume_path(tmp_path / "paused"))[1]["iteration"] == 1


def test_a_batch_that_devices_cannot_share_evenly_is_refused(tmp_path):
    assert "3 devices cannot share a batch of 4; change resources.gpu" in fit(tmp_path, "uneven", 3).stderr


def test_zerosegs_ablations_learn_on_two_devices(tmp_path):
    """Those without L_match, where a part of the network gets no gradient."""
    teacher = tmp_path / "teacher.safetensors"
    text = {"context_length": 8, "width": 16, "heads": 2, "layers": 1}
    save_network(teacher, TinyCLIP(image_size=16, backbone="sample_cnn_light", dim=12, text=text))
    Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).save(tmp_path / "a.png")
    pairs = [Pair(f"k{number}", tmp_path / "a.png") for number in range(8)]
    write_indexed_shard(tmp_path / "1.tar", pairs, captioned=False)
    cache_views.main(str(tmp_path / "1.tar"), str(teacher), str(tmp_path / "1.h5"), "tiny", [1, 2])
    small = {"width": 16, "heads": 2}
    options = {
        **{"shards": tmp_path / "1.tar", "features": tmp_path / "1.h5", "weights": teacher, "teacher": "tiny"},
        "network": {
            **{**small, "image_size": 32, "patch_size": 8, "stem": None, "mask_ratio": 0.5, "depth": 1},
            "reconstruction": {**small, "depth": 1},
            "segmentation": {**small, "depths": [1, 1, 1], "groups": [4, 2], "gumbel": False, "assign_scale": 1.0},
        },
        "loss": {
            "reconstruction": 1,
            "distillation": 1,
            "matching": 1,
            "reduction": "mean",
            "coverage": 1,
            "views": "grids",
        },
        **{"multi-scale": True, "match": False, "lr": 0.01, "betas": [0.9, 0.95], "weight-decay": 0.05},
        **{"epochs": 3, "warmup-epochs": 1, "batch-size": 4, "accelerator": "cpu", "devices": 2},
        "checkpoint": tmp_path / "network.safetensors",
    }
    command = [sys.executable, "workflow_scripts/open_vocabulary/train_zeroseg.py"]
    for name, value in options.items():
        command += [f"--{name}", str(value) if isinstance(value, Path | str) else json.dumps(value)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=FOR_EVER, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    assert load_network(tmp_path / "network.safetensors", ZeroSeg).dim == 12

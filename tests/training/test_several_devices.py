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
# The losses of a batch whose pixels without a label lie unevenly: the first process has most of them.
LOSSES = """
import json
import sys
import torch
from maskmill.methods import barm, cwbass, irn, mars, mixreorg
from maskmill.refinement.paths import paths
from maskmill.training.losses import cross_entropy

torch.manual_seed(0)
B, K, H, W = 4, 5, 19, 23
logits = torch.randn(B, K, H, W, dtype=torch.float64)
labels, pseudo = torch.randint(0, K, (2, B, H, W))
labels[0], pseudo[2, :15] = 255, 255
labels[2, :, :20], labels[1, 3] = 255, 255
confidence, weight = torch.rand(2, B, H, W, dtype=torch.float64)
foreground = torch.where(labels == 3, 0, labels)
permutation = torch.stack([torch.stack([torch.randperm(2) for _ in range(6)], dim=1) for _ in range(2)])
contents = torch.tensor([[1], [1], [2], [3]])  # nothing of the first group counts
batch = {
    **{"logits": logits, "labels": labels, "pseudo": pseudo, "confidence": confidence, "weight": weight},
    **{"foreground": foreground, "permutation": permutation.flatten(0, 1), "contents": contents},
    "number": torch.arange(B)[:, None, None],
}

def cwbass_terms(batch, name, threshold_of):
    tau = threshold_of(batch["confidence"], batch["pseudo"])
    terms = cwbass.losses(
        batch["logits"], batch["labels"], 2 * batch["logits"],
        cwbass.PseudoLabels(batch["pseudo"], batch["confidence"], tau),
        settings=cwbass.LossSettings(), release=cwbass.VARIANTS[name],
    )
    return sum(terms.values())

def barm_terms(batch):
    present, background = barm.label_masks(batch["foreground"], (H, W))
    residual = batch["logits"][:, :1]
    adaptation = barm.adaptation_positive(residual, present) + barm.adaptation_negative(residual, background)
    return barm.bce(batch["logits"], batch["labels"]) + adaptation

def mixreorg_term(batch):
    shares = batch["logits"][:, :2, 0, :6].softmax(dim=1).transpose(1, 2)
    return mixreorg.segmentation_loss(shares, batch["permutation"].unflatten(0, (-1, 2)), batch["contents"])[0]

def adaptive(confidence, labels):
    threshold = cwbass.AdaptiveThreshold(K, floor="per_class")
    threshold(0.9 * confidence, labels)
    return threshold(confidence, labels)

CASES = {
    "cross entropy": lambda b: cross_entropy(b["logits"], b["labels"]),
    "cross entropy, weighted": lambda b: cross_entropy(
        b["logits"], b["labels"], torch.arange(1.0, K + 1, dtype=torch.float64)
    ),
    "mars": lambda b: mars.weighted_cross_entropy(b["logits"], b["labels"], b["weight"]),
    "mars, weight": lambda b: mars.weighted_cross_entropy(b["logits"], b["labels"], b["weight"], normalise="weight"),
    "cwbass": lambda b: cwbass_terms(b, "online", lambda *of: cwbass.dynamic_threshold(*of, t0=1)),
    "cwbass v2": lambda b: cwbass_terms(b, "v2", adaptive),
    "cwbass v2, no label in the first process": lambda b: cwbass_terms(
        b | {"pseudo": b["pseudo"].masked_fill(b["number"] < 2, 255)}, "v2", adaptive
    ),
    "barm": barm_terms,
    "irn": lambda b: irn.losses(b["logits"][:, :1], b["logits"][:, 1:3], b["labels"], paths(3))["total"],
    "mixreorg": mixreorg_term,
}

def results(batch):
    found = {}
    for name, loss in CASES.items():
        leaf = batch["logits"].clone().requires_grad_()
        value = loss(batch | {"logits": leaf})
        (gradient,) = torch.autograd.grad(value, leaf)
        found[name] = value.detach(), gradient
    return found

whole, rank = results(batch), int(sys.argv[2])
# Two images of one group stay on one device, for MixReorg's groups; the order of the images does not matter.
own = slice(2 * rank, 2 * rank + 2)
separate = results({name: values[own] for name, values in batch.items()})
torch.distributed.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=rank, world_size=2)
shared = results({name: values[own] for name, values in batch.items()})
distances = {}
for name, (value, gradient) in shared.items():
    torch.distributed.all_reduce(value)
    torch.testing.assert_close(value / 2, whole[name][0], rtol=1e-6, atol=0, msg=f"{name}: value")
    torch.testing.assert_close(gradient / 2, whole[name][1][own], rtol=1e-6, atol=1e-12, msg=f"{name}: gradient")
    distance = (separate[name][1] / 2 - whole[name][1][own]).norm() / whole[name][1][own].norm()
    distances[name] = distance.item()
print(json.dumps(distances))
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


def test_losses_divide_by_what_all_processes_count(tmp_path):
    """Values and gradients are those of one process to 1e-6. A mean of the two processes' means, which the processes
    print beside the whole batch's, would differ by more than 1 % in each loss."""
    (tmp_path / "losses.py").write_text(LOSSES)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow_scripts")}
    commands = [[sys.executable, str(tmp_path / "losses.py"), str(tmp_path / "meeting"), rank] for rank in "01"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    outputs = []
    for process in [subprocess.Popen(command, **pipes) for command in commands]:
        output, error = process.communicate(timeout=FOR_EVER)
        assert process.returncode == 0, error[-3000:]
        outputs.append(json.loads(output))
    assert len(outputs[0]) == 10
    for name, distance in outputs[1].items():
        assert distance > 0.01, name


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

"""One training over several processes gives what one process gives (two CPU processes stand in for two GPUs)."""

import subprocess
import sys

import torch

from maskmill.storage.checkpoints import load_tensors

SCRIPT = """
import sys
import torch
from torch import nn
from maskmill.training.ema import EMA
from maskmill.training.loop import train
from maskmill.training.schedules import constant

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.arguments = {}
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, x):
        return self.layers(x)

class Points:
    def __len__(self):
        return 12

    def sample(self, index, rng):
        return {"x": torch.tensor(rng.normal(size=4) + index / 12, dtype=torch.float32)}

torch.manual_seed(0)
network = Net()
train(
    network,
    lambda model, batch: {"square": model(batch["x"]).square().mean()},
    torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9),
    constant,
    Points(),
    ema=EMA(network, decay=0.9),
    checkpoint=sys.argv[1],
    run="run",
    iterations=10,
    batch_size=4,
    seed=1,
    accelerator="cpu",
    devices=int(sys.argv[2]),
)
"""


def test_two_processes_share_each_batch_and_end_where_one_does(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    for devices in (1, 2):
        command = [sys.executable, str(script), str(tmp_path / f"{devices}.safetensors"), str(devices)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (load_tensors(tmp_path / f"{devices}.safetensors")[0] for devices in (1, 2))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6)
    assert not list(tmp_path.glob("*.resume"))

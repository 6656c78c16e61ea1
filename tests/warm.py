"""Starts Python programs, Snakemake among them, as forks of one process that has imported the slow packages.

The tests start Snakemake hundreds of times, and each of its jobs. See `maskmill/workflow/warm.py`, which users of the
sample scale have, too. The tests of SLURM and of several devices start Python with `subprocess`.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from maskmill.workflow.warm import PACKAGES, Program, server

PREPARED = (
    *("torchvision", "lightning_fabric", "torch._dynamo", "torch.onnx", "onnx", "timm", "jsonschema", "filelock"),
    *("smart_open", "snakemake.api", "snakemake.executors.local", "snakemake.benchmark", "snakemake_plugins"),
)


def run(command: list[str], *, cwd=None, env=None, check=False, merged=False) -> subprocess.CompletedProcess:
    """Run a program to its end, with no input.

    Args:
        command: `sys.executable`, a script (or -m and a module, or -c and code), and the arguments.
        merged: `stdout` of the result also has what the program wrote to stderr, in order.
    """
    assert command[0] == sys.executable
    start_server()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err, open(os.devnull) as nothing:
        streams = {"stdin": nothing.fileno(), "stdout": out.fileno(), "stderr": (out if merged else err).fileno()}
        code = Program(command[1:], cwd=cwd, env=env, **streams).wait()
        out.seek(0)
        err.seek(0)
        done = subprocess.CompletedProcess(command, code, out.read(), err.read())
    if check:
        done.check_returncode()
    return done


def start_server() -> None:
    """Start the server with what the tests' programs import, if this process has none."""
    paths = (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))
    server([*PACKAGES, *PREPARED], PYTHONPATH=os.pathsep.join(filter(None, paths)))

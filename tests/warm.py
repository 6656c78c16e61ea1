"""Starts Python programs as children of one process that has imported the slow packages.

The tests start Snakemake hundreds of times, and each of its jobs. Importing Snakemake takes a second of CPU time, and
torch, torchvision and Lightning Fabric four, while most of these jobs work for less than one. Here a server imports the
packages once, and every program is a fork of it: a process of its own, with its own folder, environment, output and
exit code. The server never imports modules of this project, which a program loads from its own checkout.

A program ends when the process that started it ends. The tests of kill -9, of several devices and of SLURM start
Python as a user does, with `subprocess`.
"""

import array
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path

PACKAGES = (
    *("torch", "torchvision", "lightning_fabric", "torch._dynamo", "torch.utils.tensorboard", "torch.onnx"),
    *("timm", "cv2", "h5py", "numba", "numpy", "pandas", "PIL.Image", "scipy.ndimage", "matplotlib.pyplot"),
    *("safetensors.torch", "tqdm", "yaml", "jsonschema", "filelock", "onnx", "smart_open"),
    *("snakemake.cli", "snakemake.api", "snakemake.executors.local", "snakemake.script", "snakemake.benchmark"),
)
ADDRESS = "MASKMILL_TESTS_WARM"  # environment variable: the server's socket


class Program:
    """A running program: the part of `subprocess.Popen` that Snakemake uses."""

    def __init__(self, command: list[str], *, cwd=None, env=None, stdin=0, stdout=1, stderr=2):
        """`command`: a script, or -m and a module, or -c and code, and the arguments; streams are file descriptors."""
        address = _address()
        request = {"command": list(map(str, command)), "cwd": os.fspath(cwd or os.getcwd())}
        request["env"] = {**(os.environ if env is None else env), ADDRESS: address}
        self.returncode: int | None = None
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.connect(address)
        streams = array.array("i", [stdin, stdout, stderr])
        self._connection.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
        self._connection.sendall(json.dumps(request).encode() + b"\n")
        self._answers = self._connection.makefile()
        self.pid = int(self._answers.readline())

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = int(self._answers.readline())
            self._answers.close()
            self._connection.close()
        return self.returncode

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)


def run(command: list[str], *, cwd=None, env=None, check=False, merged=False) -> subprocess.CompletedProcess:
    """Run a program to its end, with no input.

    Args:
        command: `sys.executable`, a script (or -m and a module, or -c and code), and the arguments.
        merged: `stdout` of the result also has what the program wrote to stderr, in order.
    """
    assert command[0] == sys.executable
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err, open(os.devnull) as nothing:
        streams = {"stdin": nothing.fileno(), "stdout": out.fileno(), "stderr": (out if merged else err).fileno()}
        code = Program(command[1:], cwd=cwd, env=env, **streams).wait()
        out.seek(0)
        err.seek(0)
        done = subprocess.CompletedProcess(command, code, out.read(), err.read())
    if check:
        done.check_returncode()
    return done


def _address() -> str:
    """The socket of this process' server, which is started at the first call and ends with this process."""
    if ADDRESS not in os.environ:
        address = str(Path(tempfile.mkdtemp()) / "socket")
        read, write = os.pipe()
        unmeasured = {name: text for name, text in os.environ.items() if not name.startswith("COVERAGE_")}
        subprocess.Popen([sys.executable, __file__, address, str(read)], pass_fds=[read], env=unmeasured)
        os.close(read)  # `write` stays open until this process ends, which tells the server
        os.set_inheritable(write, False)
        until = time.monotonic() + 120
        while not Path(address).exists():
            assert time.monotonic() < until, "the server of the tests' programs did not start"
            time.sleep(0.05)
        os.environ[ADDRESS] = address
    return os.environ[ADDRESS]


def _serve(address: str, lifeline: int) -> None:
    """Accept programs until the other end of the pipe `lifeline` closes."""
    os.environ["MPLBACKEND"] = "agg"
    for name in PACKAGES:
        importlib.import_module(name)
    sys.modules["snakemake.cli"].get_argument_parser()  # looks for Snakemake's plugins
    gc.freeze()  # a collection in a program would copy the memory that it shares
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the keepers' exit codes interest nobody
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(address + ".new")
    listener.listen(64)
    os.rename(address + ".new", address)
    while lifeline not in select.select([listener, lifeline], [], [])[0]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            os.close(lifeline)
            return _keep(connection)
        connection.close()
    Path(address).unlink()


def _keep(connection: socket.socket) -> None:
    """Start the program of a connection, tell its pid and its exit code; end it when the connection ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, ancillary, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(12))
    streams = array.array("i", ancillary[0][2])
    with connection.makefile() as lines:
        request = json.loads(lines.readline())
    pid = os.fork()
    if pid == 0:
        connection.close()
        return _become(streams=streams, **request)
    connection.sendall(b"%d\n" % pid)
    ended = os.pidfd_open(pid)
    if ended not in select.select([ended, connection], [], [])[0]:
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(OSError):  # where the process that started it has ended
        connection.sendall(b"%d\n" % code)
    os._exit(0)


def _become(command: list[str], cwd: str, env: dict[str, str], streams: array.array) -> None:
    """Be the program that `python <command>` starts."""
    import torch

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None  # of TMPDIR
    torch.set_num_threads(int(env.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    sys.orig_argv = [sys.executable, *command]
    if any(name.startswith("COVERAGE_") for name in env):
        importlib.import_module("coverage").process_startup()
    paths = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:1] = [cwd if command[0] in ("-m", "-c") else str(Path(command[0]).resolve().parent), *paths]
    sys.modules.pop("sitecustomize", None)  # of the server
    if any((Path(path) / "sitecustomize.py").exists() for path in paths):
        importlib.import_module("sitecustomize")
    if command[0] == "-m":
        sys.argv = command[1:]
        if command[1] == "snakemake":
            _jobs_are_programs()
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    elif command[0] == "-c":
        sys.argv = ["-c", *command[2:]]
        sys.modules["__main__"] = types.ModuleType("__main__")
        exec(command[1], vars(sys.modules["__main__"]))
    else:
        sys.argv = command
        runpy.run_path(command[0], run_name="__main__")


def _jobs_are_programs() -> None:
    """Have this Snakemake start scripts by `Program`, where its `shell` would start Python."""

    def start(command: str, *, env: dict[str, str], **options):
        words = shlex.split(command.removeprefix("set -euo pipefail; "))
        if len(words) == 2 and words[0] == sys.executable and words[1].endswith(".py"):
            return Program(words[1:], env=env)
        return subprocess.Popen(command, env=env, **options)

    # Not `snakemake.shell`, which may be a class of this name.
    sys.modules["snakemake.shell"].sp = types.SimpleNamespace(**{**vars(subprocess), "Popen": start})


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))

"""Starts the scripts of short jobs as forks of one process that has imported torch.

Importing torch takes two seconds of CPU time. At `scale=sample` that is more than most jobs need for their work, and a
target has dozens of them. There a server imports the packages once, and each script is a fork of it: a process of its
own with its own folder, environment, output, threads and exit code. The server imports no module of this project, which
each script loads from its own checkout. At other scales jobs are long, and Snakemake starts Python for each.

Snakemake -> (a connection per script) server -> keeper -> script. The keeper reports the script's pid and exit code,
and kills the script when the connection closes, because Snakemake has ended. Linux only; elsewhere nothing changes.
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
import threading
import time
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PACKAGES = (
    *("torch", "torch.utils.tensorboard", "numpy", "pandas", "h5py", "PIL.Image", "cv2", "numba", "scipy.ndimage"),
    *("matplotlib.pyplot", "safetensors.torch", "tqdm", "yaml", "snakemake.script", "threadpoolctl"),
)
ADDRESS = "MASKMILL_WARM"  # environment variable: the socket of a server that is there already
START = threading.Lock()


class Program:
    """A running program: the part of `subprocess.Popen` that Snakemake uses."""

    def __init__(self, command: list[str], *, cwd=None, env=None, stdin: int = 0, stdout: int = 1, stderr: int = 2):
        """`command`: a script, or -m and a module, or -c and code, and the arguments; streams are file descriptors."""
        address = str(server())
        request: dict[str, Any] = {"command": list(map(str, command)), "cwd": os.fspath(cwd or os.getcwd())}
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


def start_scripts_warm() -> None:
    """Have this Snakemake start its scripts as `Program`."""

    def start(command: str, *, env: dict[str, str], **options) -> Program | subprocess.Popen:
        words = shlex.split(command.removeprefix("set -euo pipefail; "))
        is_script = len(words) == 2 and words[0] == sys.executable and words[1].endswith(".py")
        if is_script and server(wait=False):
            return Program(words[1:], env=env)
        return subprocess.Popen(command, env=env, **options)

    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):  # no Linux, or a container that forbids it
        return
    # Snakemake offers no other place. Not `snakemake.shell`, which may be a class of this name.
    replaced = types.SimpleNamespace(**{**vars(subprocess), "Popen": start})
    sys.modules["snakemake.shell"].sp = replaced  # type: ignore[attr-defined]


def server(packages: Iterable[str] = PACKAGES, *, wait: bool = True, **environment: str) -> str | None:
    """The socket of this process' server, which is started at the first call and ends with this process.

    Args:
        packages: what the server imports.
        wait: until the server that this call starts is ready; False: None is returned while it is not.
        environment: of the server, beside that of this process.
    """
    with START:
        if ADDRESS not in os.environ:
            os.environ[ADDRESS] = str(Path(tempfile.mkdtemp()) / "socket")
            lifeline, _ = os.pipe()  # the other end stays open until this process ends, which tells the server
            # What tests measure begins with each program.
            unmeasured = {name: text for name, text in os.environ.items() if not name.startswith("COVERAGE_")}
            command = [sys.executable, "-P", __file__, os.environ[ADDRESS], str(lifeline), *packages]
            process = subprocess.Popen(command, pass_fds=[lifeline], env={**unmeasured, **environment})
            os.close(lifeline)
            while wait and process.poll() is None and not Path(os.environ[ADDRESS]).exists():
                time.sleep(0.01)
    address = os.environ[ADDRESS]
    if Path(address).exists():
        return address
    if wait:
        raise OSError(f"{__file__}: there is no server at {address}")
    return None


def _serve(address: str, lifeline: int, packages: list[str]) -> None:
    """Accept programs until the other end of the pipe `lifeline` closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C is for the programs and for Snakemake
    os.environ["MPLBACKEND"] = "agg"
    for name in packages:
        importlib.import_module(name)
    gc.freeze()  # a collection in a program would copy the memory that it shares
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody needs the keepers' exit codes
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(f"{address}.new")
    listener.listen(64)
    os.rename(f"{address}.new", address)
    awaited: list[Any] = [listener, lifeline]
    while lifeline not in select.select(awaited, [], [])[0]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            os.close(lifeline)
            return _keep(connection)
        connection.close()
    Path(address).unlink()
    Path(address).parent.rmdir()


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
    awaited: list[Any] = [ended, connection]
    if ended not in select.select(awaited, [], [])[0]:
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(OSError):  # where the process that started it has ended
        connection.sendall(b"%d\n" % code)
    os._exit(0)


def _become(command: list[str], cwd: str, env: dict[str, str], streams: array.array) -> None:
    """Be the program that `python <command>` starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None  # of TMPDIR
    # Libraries read this variable when they are loaded, which the server has done.
    threads = int(env.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    sys.modules["threadpoolctl"].threadpool_limits(threads)
    sys.modules["torch"].set_num_threads(threads)
    sys.orig_argv = [sys.executable, *command]
    if any(name.startswith("COVERAGE_") for name in env):
        importlib.import_module("coverage").process_startup()
    paths = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:0] = [cwd if command[0] in ("-m", "-c") else str(Path(command[0]).resolve().parent), *paths]
    sys.modules.pop("sitecustomize", None)  # of the server
    if any((Path(path) / "sitecustomize.py").exists() for path in paths):
        importlib.import_module("sitecustomize")
    if command[0] == "-m":
        sys.argv = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    elif command[0] == "-c":
        sys.argv = ["-c", *command[2:]]
        sys.modules["__main__"] = types.ModuleType("__main__")
        exec(command[1], vars(sys.modules["__main__"]))
    else:
        sys.argv = command
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]), sys.argv[3:])

"""Starts the scripts of short jobs as forks of one process that has imported torch.

Importing torch takes two seconds of CPU time. At `scale=sample` that is more than most jobs need for their work, and a
target has dozens of them. There a server imports the packages once, and each script is a fork of it: a process of its
own with its own folder, environment, output, threads and exit code. The server imports no module of this project, which
each script loads from its own checkout. At other scales jobs are long, and Snakemake starts Python for each.

Snakemake has a connection per script to the server, which answers with the script's pid and exit code, and kills the
script when the connection closes, because Snakemake has ended. Linux only; elsewhere nothing changes.
"""

import array
import atexit
import contextlib
import dataclasses
import gc
import importlib
import io
import json
import os
import runpy
import selectors
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
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

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


class _Server:
    """Starts programs until the other end of the pipe `lifeline` closes, and serves them until they end."""

    def __init__(self, address: str, lifeline: io.FileIO):
        self._address, self._lifeline = Path(address), lifeline
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(f"{address}.new")
        self._listener.listen(64)
        self._awaited = selectors.PollSelector()
        self._awaited.register(self._listener, selectors.EVENT_READ, self._start)
        self._awaited.register(self._lifeline, selectors.EVENT_READ, self._stop)
        os.rename(f"{address}.new", address)

    def run(self) -> None:
        while self._awaited.get_map():
            event, _ = self._awaited.select()[0]
            event.data()

    def _start(self) -> None:
        connection, _ = self._listener.accept()
        request = _receive(connection)
        if request is None:
            return
        pid = os.fork()
        if pid == 0:
            for descriptor in [key.fileobj for key in self._awaited.get_map().values()]:
                descriptor.close()  # type: ignore[union-attr]
            connection.close()
            _leave(_run_program(request))
        for stream in request["streams"]:
            os.close(stream)
        program = _Running(pid, io.FileIO(os.pidfd_open(pid)), connection)
        self._awaited.register(program.ended, selectors.EVENT_READ, partial(self._end, program))
        self._awaited.register(program.connection, selectors.EVENT_READ, partial(self._kill, program))
        program.answer(pid)

    def _kill(self, program: "_Running") -> None:
        """The process that started the program has ended."""
        self._awaited.unregister(program.connection)
        os.kill(program.pid, signal.SIGKILL)

    def _end(self, program: "_Running") -> None:
        self._awaited.unregister(program.ended)
        program.ended.close()
        program.answer(os.waitstatus_to_exitcode(os.waitpid(program.pid, 0)[1]))
        with contextlib.suppress(KeyError):  # killed before
            self._awaited.unregister(program.connection)
        program.connection.close()

    def _stop(self) -> None:
        self._awaited.unregister(self._lifeline)
        self._awaited.unregister(self._listener)
        self._listener.close()
        self._address.unlink()
        self._address.parent.rmdir()


@dataclasses.dataclass(frozen=True)
class _Running:
    """A program of the server: its pid, its pidfd, and the connection to the process that started it."""

    pid: int
    ended: io.FileIO
    connection: socket.socket

    def answer(self, number: int) -> None:
        with contextlib.suppress(OSError):  # the process that started it has ended
            self.connection.sendall(b"%d\n" % number)


def _receive(connection: socket.socket) -> dict[str, Any] | None:
    """What to start: the arguments of `_become`; None if the process that asks ended before it had sent them."""
    _, ancillary, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(12))
    with connection.makefile() as lines:
        line = lines.readline()
    return json.loads(line) | {"streams": array.array("i", ancillary[0][2])} if line.endswith("\n") else None


def _run_program(request: dict[str, Any]) -> int:
    """Run the program of a request to its end; its exit code is Python's."""
    try:
        _become(**request)
    except SystemExit as ended:
        if isinstance(ended.code, int | None):
            return (ended.code or 0) & 0xFF
        print(ended.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        sys.excepthook(*sys.exc_info())
        return -signal.SIGINT
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _leave(code: int) -> NoReturn:
    """End this process as a fork of `multiprocessing` ends: Python would take all modules apart, and to do so copy the
    memory that it shares with the server, which takes 0.6 s of CPU time."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C is for the programs and for Snakemake
    os.environ["MPLBACKEND"] = "agg"
    for package in sys.argv[3:]:
        importlib.import_module(package)
    gc.freeze()  # a collection in a program would copy the memory that it shares
    _Server(sys.argv[1], io.FileIO(int(sys.argv[2]))).run()

"""Programs that start as forks of `warm`'s server behave as processes of their own."""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import warm
from maskmill.workflow.warm import ADDRESS, Program, server, start_scripts_warm

pytestmark = pytest.mark.slow  # importing all packages


def python(code: str, *words: str, **options):
    return warm.run([sys.executable, "-c", code, *words], **options)


def test_a_program_has_its_own_folder_environment_words_streams_and_exit_code(tmp_path):
    code = """if 1:
        import json, os, sys
        print(json.dumps([os.getcwd(), os.environ.get("A"), os.environ.get("HOME"), sys.argv, sys.stdin.read()]))
        print("a word", file=sys.stderr)
        sys.exit(3)
    """
    done = python(code, "x", cwd=tmp_path, env={"A": "b"})
    assert json.loads(done.stdout) == [str(tmp_path), "b", None, ["-c", "x"], ""]
    assert (done.returncode, done.stderr) == (3, "a word\n")


def test_packages_are_there_and_the_projects_modules_are_not():
    loaded = python("import sys; print(*(m for m in ('torch', 'snakemake', 'maskmill') if m in sys.modules))")
    assert loaded.stdout.split() == ["torch", "snakemake"]


@pytest.mark.parametrize(
    "code",
    [
        *("import os; os.kill(os.getpid(), 9)", "import sys; sys.exit('a word')", "import sys; sys.exit([1])"),
        *("import sys; sys.exit(-1)", "import sys; sys.exit(True)", "raise KeyboardInterrupt", "print(1 / 0)"),
        "import atexit; atexit.register(print, 'last')",
        "import threading, time; threading.Thread(target=lambda: [time.sleep(0.1), print('in time')]).start()",
        "file = open('written', 'w'); file.write('a word'); file.close(); print(open('written').read(), end='')",
    ],
)
def test_a_program_ends_as_python_does(code, tmp_path):
    ours = python(code, cwd=tmp_path)
    pythons = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ours.returncode, ours.stdout) == (pythons.returncode, pythons.stdout)
    assert ours.stderr.splitlines()[-1:] == pythons.stderr.splitlines()[-1:]


def test_a_program_ends_with_the_one_that_started_it():
    starts = f"import sys; sys.path.insert(0, {str(Path(warm.__file__).parent)!r}); import warm; "
    starts += "print(warm.Program(['-c', 'import time; time.sleep(3600)']).pid)"
    folder, until = Path(f"/proc/{int(python(starts).stdout)}"), time.monotonic() + 600
    while folder.exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert not folder.exists()


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_of_all_libraries_are_those_of_the_environment(threads):
    code = "import json, threadpoolctl, torch; pools = threadpoolctl.threadpool_info(); "
    code += "print(json.dumps([torch.get_num_threads(), *(pool['num_threads'] for pool in pools)]))"
    printed = python(code, env={**os.environ, "OMP_NUM_THREADS": str(threads)}).stdout
    numbers = json.loads(printed)
    assert len(numbers) > 2 and set(numbers) == {threads}


def test_without_a_server_scripts_start_as_ever(tmp_path, monkeypatch):
    monkeypatch.setenv(ADDRESS, str(tmp_path / "socket"))
    assert server(wait=False) is None
    with pytest.raises(OSError, match="there is no server at"):
        server()


def test_snakemakes_shell_starts_scripts_warm_and_other_commands_as_ever(tmp_path, monkeypatch):
    shell = importlib.import_module("snakemake.shell")
    monkeypatch.setattr(shell, "sp", shell.sp)
    warm.start_server()
    start_scripts_warm()
    script = tmp_path / "a script.py"
    script.write_text("import sys; sys.exit(4)")
    ways = {
        f"{sys.executable} '{script}'": (Program, 4),
        f"{sys.executable} '{script}' x": (subprocess.Popen, 4),
        "exit 5": (subprocess.Popen, 5),
    }
    for command, (kind, code) in ways.items():
        program = shell.sp.Popen(
            f"set -euo pipefail; {command}", shell=True, executable="/bin/bash", env=dict(os.environ)
        )
        assert isinstance(program, kind) and program.wait() == code

"""The entry point `maskmill`: finding a command, reading its words, reporting what is wrong."""

import importlib
import inspect
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from maskmill.__main__ import UsageError, main, overview, summary_line, with_options
from maskmill.commands import COMMANDS
from maskmill.workflow.stage import option_texts
from stores import IDS

LIBRARY = Path(__file__).resolve().parents[2] / "workflow_scripts/maskmill"
TORCH_FREE = [name for name in COMMANDS if name not in ("segment-open", "import-group-vit")]  # torch takes seconds


def module_of(name):
    return importlib.import_module(f"maskmill.commands.{name.replace('-', '_')}")


def run_python(*words, **options):
    return subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=False, **options)


# ---- the list of commands


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",), ("help",)])
def test_all_commands_are_listed_with_the_first_line_of_their_module(words, capsys):
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert printed == overview()
    for name in COMMANDS:
        assert f"{name} {module_of(name).__doc__.splitlines()[0]}" in " ".join(printed.split())


def test_every_module_of_the_folder_is_a_command():
    modules = {path.stem for path in (LIBRARY / "commands").glob("*.py")} - {"__init__"}
    assert modules == {name.replace("-", "_") for name in COMMANDS}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_explains_itself_and_each_of_its_options(name, capsys):
    command = module_of(name)
    parameters = inspect.signature(command.main).parameters
    assert set(COMMANDS[name]) <= set(parameters)
    texts = option_texts(command.main)
    assert all(texts.get(parameter) for parameter in parameters), "each option has a help text"
    assert f"maskmill {name} " in command.__doc__ and "Out:" in command.__doc__
    assert summary_line(name).endswith(".") and len(summary_line(name)) < 110
    assert main([name, "--help"]) == 0
    printed = capsys.readouterr().out
    assert main(["help", name]) == 0 and capsys.readouterr().out == printed
    assert printed.startswith(f"usage: maskmill {name} ")
    assert all(f"--{parameter.replace('_', '-')}" in printed for parameter in parameters)


def test_neither_the_list_nor_a_command_without_networks_imports_torch():
    modules = ", ".join(f"maskmill.commands.{name.replace('-', '_')}" for name in TORCH_FREE)
    read = (
        f"import sys; from maskmill.__main__ import main; main([]); import {modules}; sys.exit('torch' in sys.modules)"
    )
    done = run_python("-c", read, cwd=LIBRARY.parent)
    assert done.returncode == 0, done.stderr


# ---- what cannot be read


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["lst"], "error: unknown command 'lst'; did you mean 'list'?"),
        (["segment_open", "a"], "error: unknown command 'segment_open'; did you mean 'segment-open'?"),
        (["quux"], "error: unknown command 'quux'; 'maskmill --help' lists the commands"),
        (["list", "a.h5", "b", "c"], "error: unexpected 'c'; 'maskmill list --help' lists the options"),
        (
            ["list", "a.h5", "--store", "b.h5"],
            "error: 'a.h5' and --store give the same twice; remove one; 'maskmill list --help' lists the options",
        ),
    ],
)
def test_a_command_line_that_cannot_be_read_is_one_line_and_exit_code_2(words, line, capsys):
    assert main(words) == 2
    assert capsys.readouterr().err == f"{line}\n"


def test_a_missing_option_is_named(capsys):
    assert main(["import-group-vit", "a.safetensors"]) == 2
    assert "the following arguments are required: --checkpoint" in capsys.readouterr().err


def test_a_bad_input_is_one_line_and_exit_code_1(tmp_path, capsys):
    assert main(["list", f"{tmp_path}/no.h5"]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path}/no.h5: no such store; give an .h5 file below work/\n"


def test_a_path_that_cannot_be_written_is_one_line(work, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["export", str(work / "mars/irn/pseudo_labels.h5"), f"{tmp_path}/file/masks"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"error: {tmp_path}/file/masks/") and "cannot be written: Not a directory" in last
    pair = [str(work / path) for path in ("irn/pseudo_labels.h5", "mars/irn/pseudo_labels.h5")]
    assert main(["compare", *pair, "--output", str(tmp_path)]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"error: {tmp_path}: Is a directory; correct this path, or its permissions"


def test_names_that_are_no_utf8_are_printed(work, tmp_path):
    shutil.copy(work / "cams.h5", os.fsencode(tmp_path) + b"/caf\xe9.h5")
    done = run_python("-m", "maskmill", "list", tmp_path, cwd=LIBRARY.parent, env=os.environ | {"PYTHONUTF8": "1"})
    assert (done.returncode, done.stdout.split()[0]) == (0, f"{tmp_path}/caf\\udce9.h5"), done.stderr


def test_a_bad_input_behind_a_progress_bar_begins_a_line(work, tmp_path):
    program = (
        "import sys, maskmill.commands.export as export; from maskmill.errors import InputError\n"
        "from maskmill.__main__ import main\n"
        "def fail(*arguments): raise InputError('disk full')\n"
        "export.write_mask = fail\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    done = run_python("-c", program, "export", work / "mars/irn/pseudo_labels.h5", tmp_path / "out", cwd=LIBRARY.parent)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: disk full"


def test_a_reader_that_stops_early_is_no_error(work):
    command = shlex.join([sys.executable, "-m", "maskmill", "list", str(work), "--dataset", "voc"])
    program = f"{command} | head -n 0; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=False, cwd=LIBRARY.parent)
    assert (done.stdout, done.stderr) == ("0\n", "")


# ---- words and options


def example(first: str, second: str = "b", images: int = 1, classes: list[str] = ()) -> None:
    pass


@pytest.mark.parametrize(
    ("words", "positional", "expected"),
    [
        ("x y --images 3", ["first", "second"], "--first x --second y --images 3"),
        ("--images 3 x", ["first", "second"], "--first x --images 3"),
        ("x --images=3 y", ["first", "second"], "--first x --second y --images=3"),
        ("x --classes cat dog --images 3 y", ["first", "second"], "--first x --second y --classes cat dog --images 3"),
        ("x cat dog --second y", ["first", "classes"], "--first x --classes cat dog --second y"),
        ("--second y --first x", ["first", "second"], "--second y --first x"),
        ("x -h", ["first"], "--first x -h"),
    ],
)
def test_words_without_an_option_are_values_in_their_order(words, positional, expected):
    assert with_options(example, words.split(), positional) == expected.split()


@pytest.mark.parametrize("words", ["x y z", "x --first y"])
def test_words_that_no_option_is_left_for_are_refused(words):
    with pytest.raises(UsageError):
        with_options(example, words.split(), ["first", "second"])


def test_a_command_runs_with_and_without_the_names_of_its_options(work, capsys):
    store = str(work / "mars/irn/pseudo_labels.h5")
    printed = []
    for words in (["--store", store, "--image", IDS[0]], [store, IDS[0]], ["--image", IDS[0], store]):
        assert main(["list", *words]) == 0
        printed.append(capsys.readouterr().out)
    assert "cat: 50.0 %" in printed[0] and printed[0] == printed[1] == printed[2]


# ---- ways to start it


def test_it_starts_as_a_module_and_by_its_folder_from_any_place(tmp_path):
    done = run_python("-m", "maskmill", "--help", cwd=LIBRARY.parent)
    assert (done.returncode, done.stdout) == (0, overview())
    done = run_python(LIBRARY, "--help", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, overview())


def test_the_folder_of_a_checkout_uses_the_library_of_that_checkout(tmp_path):
    copy = tmp_path / "workflow_scripts/maskmill"
    shutil.copytree(LIBRARY, copy, ignore=shutil.ignore_patterns("__pycache__"))
    file = copy / "storage/describe.py"
    text = file.read_text()
    assert "no such store;" in text
    file.write_text(text.replace("no such store;", "this copy has no such store;"))
    done = run_python(copy, "list", "no.h5", cwd=tmp_path)
    assert done.stderr.startswith("error: no.h5: this copy has no such store;")


def test_the_console_script_runs_from_any_folder(tmp_path):
    script = Path(sys.executable).with_name("maskmill")
    if not script.exists():
        pytest.skip("the package is not installed")
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("usage: maskmill <command>")

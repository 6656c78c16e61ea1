"""The command line `maskmill <command> ...`, also `python -m maskmill <command> ...`.

`python workflow_scripts/maskmill <command> ...` needs no installation: it takes the library of the checkout that it
lies in. In: the words of the command line. Out: what the command writes; exit code 0, or 1 after a bad input, which is
one line on stderr, or 2 after a command line that cannot be read.
"""

import ast
import difflib
import importlib
import inspect
import io
import logging
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_origin

if not __package__:  # run by the path of its folder, which Python takes for the place of top-level modules
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from maskmill.commands import COMMANDS
from maskmill.errors import InputError
from maskmill.workflow import stage

OVERVIEW = """usage: maskmill <command> [options]

Look into the files that the workflow makes, compare them, and use its networks.

{commands}

`maskmill <command> --help` explains a command and its options.
Results are made by Snakemake: snakemake results/mars_voc_miou.csv --cores 8
"""


class UsageError(Exception):
    """A command line that cannot be read; its message is one line."""


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    Args:
        words: the words of the command line after the program's name; default: those of this process.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may hold bytes that are no UTF-8
    words = sys.argv[1:] if words is None else words
    try:
        run(*words)
        return 0
    except SystemExit as end:  # argparse's, after --help or a wrong option
        return int(end.code or 0)
    except UsageError as error:
        code, message = 2, f"error: {error}"
    except InputError as error:
        code, message = 1, f"error: {error}"
    except KeyboardInterrupt:
        code, message = 130, "stopped"
    except BrokenPipeError:  # the reader of stdout, such as `head`, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None:
            raise
        place = error.filename2 or error.filename  # the second one is the target of a renaming
        code, message = 1, f"error: {place}: {error.strerror}; correct this path, or its permissions"
    logging.error(message)  # after the except clause, which frees the error's frames: a progress bar has ended its line
    return code


def run(name: str = "--help", *words: str) -> None:
    """Run the command of this name, or print the list of commands.

    Raises:
        UsageError: there is no such command, or its words cannot be assigned to its options.
        InputError: as the command does.
    """
    if name == "help" and words:
        name, words = words[0], ("--help",)
    if name in ("--help", "-h", "help"):
        print(overview(), end="")
        return
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean '{close[0]}'?" if close else "'maskmill --help' lists the commands"
        raise UsageError(f"unknown command '{name}'; {hint}")
    command = importlib.import_module(f"maskmill.commands.{module_name(name)}").main
    try:
        options = with_options(command, words, COMMANDS[name])
    except UsageError as error:
        raise UsageError(f"{error}; 'maskmill {name} --help' lists the options") from None
    command(**stage.from_command_line(command, options, f"maskmill {name}"))
    sys.stdout.flush()


def overview() -> str:
    """The list of all commands, each with the first line of its module's docstring; imports none of them."""
    indent = max(map(len, COMMANDS)) + 4
    columns = shutil.get_terminal_size().columns
    lines = [
        textwrap.fill(f"  {name}".ljust(indent) + summary_line(name), columns, subsequent_indent=" " * indent)
        for name in COMMANDS
    ]
    return OVERVIEW.format(commands="\n".join(lines))


def summary_line(name: str) -> str:
    """The first line of a command's docstring, read from the file."""
    source = Path(__file__).parent / f"commands/{module_name(name)}.py"
    return (ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def module_name(name: str) -> str:
    return name.replace("-", "_")


def with_options(main: Callable, words: Sequence[str], positional: Sequence[str]) -> list[str]:
    """The words of a command line, with its options before those that stand without one.

    Args:
        main: the command, whose parameters are its options; one that is a list takes all words up to the next option.
        positional: parameters whose values may stand without an option, in this order; the last one takes all further
            words where it is a list.

    Raises:
        UsageError: more words stand without an option than `positional` takes, or a parameter has both.
    """
    lists = {name for name, p in inspect.signature(main).parameters.items() if get_origin(p.annotation) is list}
    alone, named = [], []
    options, expected = set(), 0  # expected: further words that are values of the last option
    for word in words:
        if word.startswith("--") or word == "-h":
            option = word.split("=")[0].lstrip("-").replace("-", "_")
            options.add(option)
            expected = len(words) if option in lists else int("=" not in word and word not in ("-h", "--help"))
            named.append(word)
        elif expected:
            expected -= 1
            named.append(word)
        else:
            alone.append(word)
    placed = []
    for place, name in enumerate(positional[: len(alone)]):
        if name in options:
            raise UsageError(f"'{alone[place]}' and --{name.replace('_', '-')} give the same twice; remove one")
        taken = alone[place:] if name in lists else [alone[place]]
        placed += [f"--{name.replace('_', '-')}", *taken]
        if name in lists:
            return placed + named
    if len(alone) > len(positional):
        raise UsageError(f"unexpected '{alone[len(positional)]}'")
    return placed + named


if __name__ == "__main__":
    sys.exit(main())

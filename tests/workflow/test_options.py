"""Every option of every script and command is explained in `--help`."""

import importlib
import importlib.util
import inspect
from pathlib import Path

import pytest

from maskmill.commands import COMMANDS
from maskmill.workflow import stage
from maskmill.workflow.options import SHARED_OPTIONS, documented

SCRIPTS = Path(stage.__file__).resolve().parents[2]
STAGES = sorted(
    str(path.relative_to(SCRIPTS)) for path in SCRIPTS.glob("*/*.py") if path.parent.name not in ("maskmill", "tools")
)


def main_of_script(script):
    """`main` of a script, loaded under a name of its own: no script hides a module that is called alike."""
    name = "stage_of_" + script.removesuffix(".py").replace("/", "_")
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def main_of_command(command):
    return importlib.import_module(f"maskmill.commands.{command.replace('-', '_')}").main


def unexplained(main):
    texts = stage.option_texts(main)
    return [name for name in stage._options(main) if not texts.get(name, "").strip()]


def unknown(main):
    """Names that the docstring of `main` explains, but that are no parameters of it."""
    return sorted(documented(main).keys() - inspect.signature(main).parameters.keys())


@pytest.mark.parametrize("script", STAGES)
def test_every_option_of_a_script_has_a_help_text(script):
    main = main_of_script(script)
    assert unexplained(main) == []
    assert unknown(main) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command_has_a_help_text(command):
    main = main_of_command(command)
    assert unexplained(main) == []
    assert unknown(main) == []


def test_a_shared_text_is_the_help_of_three_mains_or_more():
    mains = [*map(main_of_script, STAGES), *map(main_of_command, COMMANDS)]
    users = {name: 0 for name in SHARED_OPTIONS}
    for main in mains:
        texts = stage.option_texts(main)
        for name in stage._options(main).keys() & users:
            users[name] += texts[name] == SHARED_OPTIONS[name]
    rare = {name: number for name, number in users.items() if number < 3}
    assert rare == {}


def test_names_that_share_a_text_and_continued_lines_are_read():
    def main(first, second, third, fourth):
        """Do something.

        Args:
            first, second: one text for both,
                which goes on in the next line: with a colon.
            third: another text.

            fourth: a text after an empty line

        Raises:
            fifth: no parameter.
        """

    text = "one text for both, which goes on in the next line: with a colon"
    assert documented(main) == {
        "first": text,
        "second": text,
        "third": "another text",
        "fourth": "a text after an empty line",
    }


def test_attributes_of_a_class_are_read_like_arguments():
    class Run:
        """How to run.

        Attributes:
            save_minutes: time between
                two states.
        """

    assert documented(Run) == {"save_minutes": "time between two states"}


def test_without_a_docstring_or_a_list_of_arguments_there_are_no_texts():
    def silent(first):
        pass

    def terse(first):
        """Do something."""

    assert documented(silent) == documented(terse) == {}

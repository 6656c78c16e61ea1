"""The exceptions of the library, and a check of options."""

from collections.abc import Sequence


class InputError(Exception):
    """A mistake of the user or a broken file. The message is one line that names the file, the value and the fix; a
    stage prints it without a traceback."""


class Paused(InputError):
    """A training reached its time limit. Its state is saved, and the next call continues."""


def check_option(name: str, value: str, options: Sequence[str]) -> None:
    """Make sure that a keyword argument has one of the values that exist.

    Raises:
        ValueError: names the argument, its value and the options.
    """
    if value not in options:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(options)}")

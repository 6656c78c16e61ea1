"""Settings that take one of a few words."""

from collections.abc import Iterable


def check_choice(name: str, value: str, options: Iterable[str]) -> None:
    """Refuse a setting that is none of its options.

    Args:
        name: of the setting, for the message.

    Raises:
        ValueError: names the setting, its value and the options.
    """
    options = list(options)
    if value not in options:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(options)}")

"""What a checkpoint stores so that `storage.checkpoints` can build its network again."""

from collections.abc import Mapping, Sequence
from typing import Any


def constructor_arguments(names: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a network's constructor, in the order of its signature, as JSON returns them: tuples become lists.

    `pretrained` is left out, because a checkpoint has the weights itself.

    Args:
        names: `locals()` of the constructor, called before it binds any name of its own.
    """
    left_out = ("self", "__class__", "pretrained")
    return {name: _as_lists(value) for name, value in names.items() if name not in left_out}


def _as_lists(value: Any) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_as_lists(item) for item in value]
    return value

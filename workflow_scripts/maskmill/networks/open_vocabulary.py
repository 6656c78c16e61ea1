"""Networks that segment into any list of classes, behind one interface.

Each has `describe` (pixels to the shares of patches in segments, and unit vectors of segments and images),
`patch_size`, and the normalisation `mean` and `std`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskmill.data.transforms import network_input
from maskmill.errors import InputError
from maskmill.networks.clip import load_teacher
from maskmill.networks.group_vit import GroupViT
from maskmill.networks.sliding import mean_logits
from maskmill.networks.zeroseg import ZeroSeg
from maskmill.storage.checkpoints import load_network, load_one_of, load_tensors, read_header, save_tensors


def load_open_vocabulary(path: str | Path) -> nn.Module:
    """The network of a checkpoint, in evaluation mode.

    Raises:
        InputError: the file is missing, is broken, or holds a network that has no segments.
    """
    return load_one_of(path, (GroupViT, ZeroSeg))


def load_texts(path: str | Path, teacher: str | None) -> nn.Module:
    """A network that encodes the names of classes, in evaluation mode: a GroupViT or a teacher of ZeroSeg.

    Args:
        path: checkpoint of the GroupViT, or weights of the teacher.
        teacher: see `load_teacher`; None for GroupViT.

    Raises:
        InputError: the file is missing, is broken, or holds another network.
    """
    if teacher is not None:
        return load_teacher(teacher, path)
    if read_header(path).get("network") == ZeroSeg.__name__:
        raise InputError(f"{path}: holds a ZeroSeg, which knows no names; name its teacher and the teacher's weights")
    return load_network(path, GroupViT)


def input_size(size: tuple[int, int], short_side: int, long_side: int = 2048) -> tuple[int, int]:
    """Height and width of an image after resizing the shorter side to `short_side` pixels, also if that enlarges it,
    unless the longer side would exceed `long_side` pixels."""
    factor = min(short_side / min(size), long_side / max(size))
    return round(size[0] * factor), round(size[1] * factor)


def resized_input(image: np.ndarray, network: Any, side: int) -> Tensor:
    """An image uint8 [H, W, 3] as the network's input [1, 3, *input_size]; bilinear, with OpenCV's pixel centres."""
    size = input_size((image.shape[0], image.shape[1]), side)
    return F.interpolate(network_input(image, network.mean, network.std), size, mode="bilinear")


def image_logits(
    logits_of: Callable[[Tensor], Tensor], pixels: Tensor, size: tuple[int, int], window: int, stride: int
) -> Tensor:
    """Mean of `logits_of` over sliding windows, resized to the image's `size`: [C, *size].

    Args:
        logits_of: pixels [1, 3, window, window] to logits [1, C, window, window].
        pixels: normalised image [1, 3, H, W].
        size: height and width of the image.
        window, stride: of the windows, in pixels.
    """
    return F.interpolate(mean_logits(logits_of, pixels, window, stride=stride), size, mode="bilinear")[0]


def check_prompts(tokenizer: Callable[[list[str]], Tensor], names: Sequence[str], templates: Sequence[str]) -> None:
    """Refuse prompts that do not tell classes apart: vectors would be the same, and one class would never be found.

    Args:
        tokenizer: texts to token ids [n, T]; it may drop capitals, signs, and what lies behind the longest text.
        names: of the classes.
        templates: prompts, with {} in the place of the name.

    Raises:
        InputError: a template has no {}, or the network reads two names alike, or nothing of a name.
    """
    if not templates:
        raise InputError("templates: there is none; give prompts such as 'a photo of a {}.'")
    for template in templates:
        if "{}" not in template:
            raise InputError(f"templates: {template!r} has no {{}} in the place of the class's name; add it")
    read: dict[tuple[int, ...], int] = {}
    for number, name in enumerate(("", *names)):
        tokens = tuple(tokenizer([template.replace("{}", name) for template in templates]).flatten().tolist())
        first = read.setdefault(tokens, number)
        if first < number and first == 0:
            raise InputError(
                f"classes: the network reads nothing of {name!r} in the templates; give it a name in English words, or "
                "shorter templates"
            )
        if first < number:
            raise InputError(
                f"classes: the network reads {names[first - 1]!r} and {name!r} alike, since capitals do not count, nor "
                "what lies behind its longest text; rename one"
            )


def save_classes(path: str | Path, vectors: Tensor, scale: Tensor, names: list[str], ids: list[int]) -> None:
    """Write the encoding of a list of classes by a network, as safetensors.

    Args:
        vectors: unit vectors [N, D].
        scale: of the logits, a scalar.
        names, ids: names and mask ids of the N classes.
    """
    save_tensors(path, {"vectors": vectors, "scale": scale, "ids": torch.tensor(ids)}, {"names": names})


def load_classes(path: str | Path) -> tuple[Tensor, Tensor, list[str], Tensor]:
    """Vectors, scale, names and ids (int64 [N]) from a file of `save_classes`."""
    tensors, header = load_tensors(path)
    return tensors["vectors"], tensors["scale"], header["names"], tensors["ids"]

"""Networks that segment by any list of classes, behind one interface.

Each has `describe` (pixels to the patches' shares in segments, and unit vectors of segments and images), `patch_size`,
and the normalisation `mean` and `std`.
"""

from collections.abc import Callable
from pathlib import Path

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
        InputError: the file is missing, broken, or holds a network that has no segments.
    """
    return load_one_of(path, (GroupViT, ZeroSeg))


def load_texts(path: str | Path, teacher: str | None) -> nn.Module:
    """What knows names: GroupViT, whose checkpoint it is, or a teacher of ZeroSeg with its weights; in evaluation mode.

    Args:
        teacher: see `load_teacher`; None for GroupViT.

    Raises:
        InputError: the file is missing, broken, or holds another network.
    """
    if teacher is not None:
        return load_teacher(teacher, path)
    if read_header(path).get("network") == ZeroSeg.__name__:
        raise InputError(f"{path}: holds a ZeroSeg, which knows no names; name its teacher and the teacher's weights")
    return load_network(path, GroupViT)


def input_size(size: tuple[int, int], short_side: int, long_side: int = 2048) -> tuple[int, int]:
    """Height and width that an image is resized to, also enlarged: the shorter side to `short_side` pixels, unless the
    longer one would exceed `long_side`."""
    factor = min(short_side / min(size), long_side / max(size))
    return round(size[0] * factor), round(size[1] * factor)


def resized_input(image: np.ndarray, network: nn.Module, side: int) -> Tensor:
    """An image uint8 [H, W, 3] as the network's input [1, 3, *input_size]; bilinear, as OpenCV resizes."""
    size = input_size(image.shape[:2], side)
    return F.interpolate(network_input(image, network.mean, network.std), size, mode="bilinear")


def image_logits(
    logits_of: Callable[[Tensor], Tensor], pixels: Tensor, size: tuple[int, int], window: int, stride: int
) -> Tensor:
    """The mean over sliding windows of `logits_of`, resized to the image's `size`: [C, *size]."""
    return F.interpolate(mean_logits(logits_of, pixels, window, stride=stride), size, mode="bilinear")[0]


def save_classes(path: str | Path, vectors: Tensor, scale: Tensor, names: list[str], ids: list[int]) -> None:
    """Write what a list of classes is to a network: unit vectors [N, D], the logits' scale (a scalar), the classes'
    names and their mask ids."""
    save_tensors(path, {"vectors": vectors, "scale": scale, "ids": torch.tensor(ids)}, {"names": names})


def load_classes(path: str | Path) -> tuple[Tensor, Tensor, list[str], Tensor]:
    """Vectors, scale, names and ids (int64 [N]) of `save_classes`."""
    tensors, header = load_tensors(path)
    return tensors["vectors"], tensors["scale"], header["names"], tensors["ids"]

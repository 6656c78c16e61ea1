"""Refinement of a teacher's probabilities inside a training step (R of MARS, Eq. 6)."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import torch
from torch import Tensor

from maskmill.errors import InputError
from maskmill.processes import end_with_parent
from maskmill.refinement.dense_crf import dense_crf, probability_unary
from maskmill.refinement.pamr import pamr

Refine = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def make_refine(name: str, crf: dict, mean: Sequence[float], std: Sequence[float], *, workers: int) -> Refine:
    """Build a function refine(probabilities, images, tags, selected) -> probabilities.

    Its arguments are probabilities float [B, C+1, H, W], normalised images [B, 3, H, W], tags bool [B, C], and the
    images to refine, bool [B]. The CRF leaves the probabilities of all other images as they are.

    Args:
        name: `crf` (the paper's example, one process per image, up to `workers`), `pamr` (on the network's device) or
            `none`.
        crf: settings of `dense_crf`.
        mean, std: normalisation of the images.
        workers: number of processes; 0: the CRF runs in this process.

    Raises:
        InputError: `name` is another one.
    """
    if name == "none":
        return lambda probabilities, images, tags, selected: probabilities
    if name == "pamr":
        return lambda probabilities, images, tags, selected: pamr(_unit_range(images, mean, std), probabilities)
    if name != "crf":
        raise InputError(f"config: mars.teacher.refine {name!r}; choose crf, pamr or none")
    pool = ProcessPoolExecutor(workers, initializer=end_with_parent) if workers else None
    return partial(_refine_by_crf, crf=crf, mean=mean, std=std, map_images=pool.map if pool else map)


def _refine_by_crf(
    probabilities: Tensor,
    images: Tensor,
    tags: Tensor,
    selected: Tensor,
    *,
    crf: dict,
    mean: Sequence[float],
    std: Sequence[float],
    map_images: Callable,
) -> Tensor:
    """Refine the planes of the background and of the image's tags only, because no other class can win."""
    pixels = (_unit_range(images, mean, std) * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    present = [[0, *(torch.nonzero(row)[:, 0] + 1).tolist()] for row in tags]
    numbers = [b for b in range(len(images)) if selected[b]]
    planes = [probabilities[b, present[b]].cpu().numpy() for b in numbers]
    refined = probabilities.clone()
    for b, q in zip(numbers, map_images(partial(_crf, crf=crf), pixels[numbers], planes), strict=True):
        refined[b, present[b]] = torch.from_numpy(q).to(refined)
    return refined


def _crf(image: np.ndarray, planes: np.ndarray, crf: dict) -> np.ndarray:
    return dense_crf(image, probability_unary(planes / planes.sum(axis=0)), **crf)


def _unit_range(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Undo the normalisation: values in 0..1."""
    return images * images.new_tensor(std)[:, None, None] + images.new_tensor(mean)[:, None, None]

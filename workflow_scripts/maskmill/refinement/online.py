"""Refining a teacher's probabilities inside a training step (R of MARS, Eq. 6)."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import torch
from torch import Tensor

from maskmill.errors import InputError
from maskmill.processes import end_with_parent
from maskmill.refinement.dense_crf import dense_crf, probability_unary
from maskmill.refinement.pamr import pamr


def make_refine(name: str, crf: dict, mean, std, *, workers: int) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Build refine(probabilities [B, C+1, H, W], images normalised [B, 3, H, W], tags bool [B, C], wanted bool [B]) ->
    probabilities; images that are not wanted come back as they were.

    Args:
        name: `crf` (the paper's example, one process per image up to `workers`), `pamr` (on the network's device) or
            `none`.
        crf: setting of `dense_crf`.
        mean, std: normalisation of the images.
    """
    if name == "none":
        return lambda probabilities, images, tags, wanted: probabilities
    if name == "pamr":
        return lambda probabilities, images, tags, wanted: pamr(_unit_range(images, mean, std), probabilities)
    if name != "crf":
        raise InputError(f"config: mars.teacher.refine {name!r}; choose crf, pamr or none")
    pool = ProcessPoolExecutor(workers, initializer=end_with_parent) if workers else None
    return partial(_refine_by_crf, crf=crf, mean=mean, std=std, map_images=pool.map if pool else map)


def _refine_by_crf(probabilities, images, tags, wanted, *, crf, mean, std, map_images) -> Tensor:
    """Only the planes of background and the image's tags enter: where tags are known the others cannot win."""
    pixels = (_unit_range(images, mean, std) * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    present = [[0, *(torch.nonzero(row)[:, 0] + 1).tolist()] for row in tags]
    chosen = [b for b in range(len(images)) if wanted[b]]
    planes = [probabilities[b, present[b]].cpu().numpy() for b in chosen]
    refined = probabilities.clone()
    for b, q in zip(chosen, map_images(partial(_crf, crf=crf), pixels[chosen], planes), strict=True):
        refined[b, present[b]] = torch.from_numpy(q).to(refined)
    return refined


def _crf(image: np.ndarray, planes: np.ndarray, crf: dict) -> np.ndarray:
    return dense_crf(image, probability_unary(planes / planes.sum(axis=0)), **crf)


def _unit_range(images: Tensor, mean, std) -> Tensor:
    """Undo the normalisation: values in 0..1."""
    return images * images.new_tensor(std)[:, None, None] + images.new_tensor(mean)[:, None, None]

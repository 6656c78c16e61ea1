"""Mean-field inference in a fully connected CRF (Krähenbühl and Koltun, NIPS 2011)."""

from functools import lru_cache

import numpy as np
from numba import njit
from pydensecrf.densecrf import DenseCRF2D

from maskmill.refinement.permutohedral import (
    BLOCK,
    Lattice,
    add_scaled,
    blur,
    build_lattice,
    gather,
    pack,
    scatter,
    unpack,
    vertex_values,
    zeros,
)

SMALLEST_PROBABILITY = 1e-5
NEGLIGIBLE = 0.2  # odds against a pixel's best plane that a plane must exceed somewhere to receive messages of its own


def label_unary(labels: np.ndarray, num_labels: int, gt_prob: float = 0.7) -> np.ndarray:
    """Unary energies of a hard labelling that is right with probability `gt_prob`.

    The other labels share the rest evenly: -ln gt_prob for the given label, -ln((1 - gt_prob) / (L - 1)) for
    the others.

    Args:
        labels: integers [H, W] in 0..num_labels-1 (present classes renumbered, 0 = background; no ignore
            value).
        gt_prob: in (0, 1); IRN's 0.7.

    Returns:
        float32 [L, H*W].

    Raises:
        ValueError: a label is outside 0..num_labels-1.
    """
    labels = np.asarray(labels)
    if labels.min() < 0 or labels.max() >= num_labels:
        raise ValueError(f"labels {labels.min()}..{labels.max()} do not fit 0..{num_labels - 1}")
    of_other = -np.log((1 - gt_prob) / max(num_labels - 1, 1))
    given = labels.ravel() == np.arange(num_labels)[:, None]
    return np.where(given, -np.log(gt_prob), of_other).astype(np.float32)


def probability_unary(probabilities: np.ndarray) -> np.ndarray:
    """Unary energies -ln max(p, 1e-5) of class probabilities p, float [L, H, W]; float32 [L, H*W]."""
    clipped = np.maximum(np.asarray(probabilities, np.float32), SMALLEST_PROBABILITY)
    return -np.log(clipped).reshape(len(clipped), -1)


def dense_crf(
    image: np.ndarray,
    unary: np.ndarray,
    *,
    gaussian_sxy: float,
    gaussian_compat: float,
    bilateral_sxy: float,
    bilateral_srgb: float,
    bilateral_compat: float,
    iterations: int,
    backend: str = "fast",
) -> np.ndarray:
    """..."""
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}; choose {' or '.join(BACKENDS)}")
    image, unary = _checked(image, unary)
    num_labels = len(unary)
    if num_labels == 1:
        return np.ones((1, *image.shape[:2]), np.float32)
    q = BACKENDS[backend](
        image,
        unary,
        (gaussian_sxy, gaussian_compat),
        (bilateral_sxy, bilateral_srgb, bilateral_compat),
        iterations,
    )
    return q.reshape(num_labels, *image.shape[:2])


def _checked(image, unary):
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must be uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
    pixels = image.shape[0] * image.shape[1]
    if unary.ndim != 2 or unary.shape[1] != pixels:
        raise ValueError(f"unary must be [L, {pixels}] for this image, not {list(unary.shape)}")
    if unary.dtype not in (np.float32, np.float64):
        raise ValueError(f"unary must be float32 or float64 energies, not {unary.dtype}")
    if not np.isfinite(unary).all():
        nan, infinite = np.isnan(unary).sum(), np.isinf(unary).sum()
        raise ValueError(f"unary holds {nan} NaN and {infinite} infinite energies of {unary.size}; clip probabilities")
    return np.ascontiguousarray(image), np.ascontiguousarray(unary, np.float32)


def _pydensecrf(image, unary, gaussian, bilateral, iterations):
    height, width = image.shape[:2]
    crf = DenseCRF2D(width, height, len(unary))
    crf.setUnaryEnergy(unary)
    crf.addPairwiseGaussian(sxy=gaussian[0], compat=gaussian[1])
    crf.addPairwiseBilateral(sxy=bilateral[0], srgb=bilateral[1], rgbim=image, compat=bilateral[2])
    return np.array(crf.inference(iterations), np.float32)


def _fast(image, unary, gaussian, bilateral, iterations):
    best, odds = _survey(unary)
    members = _negligible(unary, odds)
    live = np.setdiff1d(np.arange(len(unary)), members)
    q = np.empty_like(unary)
    total, share = _merge(unary, best, members, q)
    rest_unary = best - np.log(total)
    rest = np.ones_like(best)
    if len(live):
        kernels = _bilateral_lattice(image, *bilateral[:2]), _spatial_lattice(*image.shape[:2], gaussian[0])
        compat = np.array([bilateral[2], gaussian[1]], np.float32)
        _mean_field(unary, live, rest_unary, share, kernels, compat, iterations, q, rest)
    _share(q, members, rest / total)
    return q


BACKENDS = {"fast": _fast, "pydensecrf": _pydensecrf}


def _negligible(unary, odds):
    members = np.flatnonzero(odds < NEGLIGIBLE)
    if len(members):
        return members
    same = [np.flatnonzero(odds == value) for value in np.unique(odds)]
    same = [[k for k in group if np.array_equal(unary[k], unary[group[0]])] for group in same]
    return np.array(max(same, key=len))


def _bilateral_lattice(image, sxy, srgb) -> Lattice:
    height, width = image.shape[:2]
    features = np.empty((5, height, width), np.float32)
    features[:2] = _positions(height, width, sxy)
    np.divide(np.moveaxis(image, 2, 0), np.float32(srgb), out=features[2:], dtype=np.float32)
    return build_lattice(features.reshape(5, -1))


@lru_cache(maxsize=4)
def _spatial_lattice(height, width, sxy) -> Lattice:
    return build_lattice(_positions(height, width, sxy).reshape(2, -1))


def _positions(height, width, sxy):
    """x and y in standard deviations, float32 [2, H, W]."""
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    return np.stack(np.broadcast_arrays(x, y[:, None])) / np.float32(sxy)


def _mean_field(unary, live, rest_unary, share, kernels, compat, iterations, q, rest):
    width = 1 if len(live) == 1 else 4 if len(live) <= 4 else 8
    groups = -(-len(live) // width)
    values = [vertex_values(groups, kernel.size, width) for kernel in kernels]
    answers = [np.empty_like(v) for v in values]
    gain = compat[0] * kernels[0].gain + compat[1] * kernels[1].gain
    planes = np.empty((groups * width, BLOCK), np.float32)
    first, second = ((kernel.vertices, kernel.weights) for kernel in kernels)
    for iteration in range(iterations + 1):
        for kernel, target, source in zip(kernels, values, answers, strict=True):
            for group in range(groups):
                blur_all = iteration and blur(source[group], kernel.chains, kernel.groups)
            target.view(np.uint8).fill(0)
        _update(
            unary,
            live,
            rest_unary,
            np.float32(share),
            gain,
            *first,
            *second,
            compat,
            iteration > 0,
            iteration == iterations,
            *answers,
            *values,
            planes,
            q,
            rest,
        )
        values, answers = answers, values


@njit(cache=True)
def _update(
    unary,
    live,
    rest_unary,
    share,
    gain,
    vertices,
    weights,
    vertices2,
    weights2,
    compat,
    receives,
    ends,
    answers,
    answers2,
    values,
    values2,
    planes,
    q,
    rest,
):
    groups, width = len(values), len(planes) // len(values)
    rest_plane, top = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    for start in range(0, unary.shape[1], BLOCK):
        n = min(BLOCK, unary.shape[1] - start)
        if receives:
            for g in range(groups):
                answer, answer2 = answers[g], answers2[g]
                for b in range(n):
                    message = add_scaled(zeros(answer), compat[0], gather(answer, vertices, weights, start + b, 6))
                    message = add_scaled(message, compat[1], gather(answer2, vertices2, weights2, start + b, 3))
                    unpack(message, planes, g * width, b)
        _softmax(planes, rest_plane, top, unary, live, rest_unary, share, gain, start, n, receives)
        if ends:
            for l in range(len(live)):
                q[live[l], start : start + n] = planes[l, :n]
            rest[start : start + n] = rest_plane[:n]
        else:
            for g in range(groups):
                value, value2 = values[g], values2[g]
                for b in range(n):
                    lanes = pack(planes, g * width, b, value)
                    scatter(lanes, value, vertices, weights, start + b, 6)
                    scatter(lanes, value2, vertices2, weights2, start + b, 3)


@njit(cache=True)
def _softmax(planes, rest, top, unary, live, rest_unary, share, gain, start, n, receives):
    energies = rest_unary[start : start + n]
    if receives:
        rest[:n] = gain[start : start + n]
        for l in range(len(live)):
            plane = planes[l]
            for b in range(n):
                rest[b] -= plane[b]
        for b in range(n):
            rest[b] = share * rest[b] - energies[b]
    else:
        planes[:] = 0
        for b in range(n):
            rest[b] = -energies[b]
    top[:n] = rest[:n]
    for l in range(len(live)):
        plane, energies = planes[l], unary[live[l], start : start + n]
        for b in range(n):
            plane[b] -= energies[b]
            top[b] = max(top[b], plane[b])
    for b in range(n):
        rest[b] = _exp(rest[b] - top[b])
    total = rest.copy()
    for l in range(len(live)):
        plane = planes[l]
        for b in range(n):
            plane[b] = _exp(plane[b] - top[b])
            total[b] += plane[b]
    for b in range(n):
        total[b] = np.float32(1) / total[b]
        rest[b] *= total[b]
    for l in range(len(live)):
        plane = planes[l]
        for b in range(n):
            plane[b] *= total[b]
    planes[len(live) :] = 0


@njit(cache=True)
def _survey(unary):
    labels, pixels = unary.shape
    best = np.empty(pixels, np.float32)
    gaps = np.full((labels, BLOCK), np.inf, np.float32)
    for start in range(0, pixels, BLOCK):
        n = min(BLOCK, pixels - start)
        least = best[start : start + n]
        least[:] = unary[0, start : start + n]
        for l in range(1, labels):
            energies = unary[l, start : start + n]
            for b in range(n):
                least[b] = min(least[b], energies[b])
        for l in range(labels):
            energies, gap = unary[l, start : start + n], gaps[l]
            for b in range(n):
                gap[b] = min(gap[b], energies[b] - least[b])
    odds = np.empty(labels, np.float32)
    for l in range(labels):
        odds[l] = np.exp(-gaps[l].min())
    return best, odds


@njit(cache=True)
def _merge(unary, best, members, q):
    pixels = unary.shape[1]
    total = np.zeros(pixels, np.float32)
    masses = np.zeros((len(members), BLOCK), np.float32)
    for start in range(0, pixels, BLOCK):
        n = min(BLOCK, pixels - start)
        least, sums = best[start : start + n], total[start : start + n]
        for m in range(len(members)):
            out, energies, mass = q[members[m], start : start + n], unary[members[m], start : start + n], masses[m]
            for b in range(n):
                out[b] = _exp(least[b] - energies[b])
            for b in range(n):
                sums[b] += out[b]
                mass[b] += out[b]
    mass = masses.sum(axis=1).astype(np.float64)
    return total, (mass**2).sum() / mass.sum() ** 2


@njit(cache=True)
def _share(q, members, factor):
    for l in members:
        out = q[l]
        for p in range(factor.size):
            out[p] *= factor[p]


@njit(cache=True)
def _exp(x):
    """exp(x), x <= 0, to one unit in the last place or so; branchless, so that loops over it vectorise."""
    x = max(x, np.float32(-87))
    power = np.rint(x * np.float32(1.44269504))
    r = x - power * np.float32(0.693359375) + power * np.float32(2.12194440e-4)
    y = np.float32(1.9875691500e-4)
    y = y * r + np.float32(1.3981999507e-3)
    y = y * r + np.float32(8.3334519073e-3)
    y = y * r + np.float32(4.1665795894e-2)
    y = y * r + np.float32(1.6666665459e-1)
    y = y * r + np.float32(5.0000001201e-1)
    y = y * r * r + r + np.float32(1)
    return y * np.int32((np.int32(power) + np.int32(127)) << np.int32(23)).view(np.float32)

"""MARS: remove biased objects from the pseudo labels of any tag-supervised method, without more supervision.

S. Jo, I.-J. Yu, K. Kim: "MARS: Model-agnostic Biased Object Removal without Additional Supervision for
Weakly-Supervised Semantic Segmentation", ICCV 2023. Functions follow the order of its equations.

Symbols (the paper's, then ours):
    Y^b   labels            biased pseudo labels of a tag-supervised method, uint8 [H, W]
    F     features          embedding of an unsupervised method (STEGO), float [D, h, w]
    v^c   centroids         K-means centroids of class c in one image (c = 0: background), [n, D]
    S, D  cosine similarity and the distance D(v, v') = (1 - S(v, v')) / 2
    K_fg, K_bg              centroids of each class, and of the background, in one image (2, 2)
    alpha                   share of a class's centroids that is kept (0.40)
    V^c   class_centroids   debiased centroids of all classes, [C+1, D]; row c is that of class c
    C_I   classes, tags     classes of the image: mask ids 1..C, or bool [B, C] where column c-1 is class c
    M^, M likelihood, mask  object likelihood, and its binary refinement
    Y^db  debiased_labels   labels with biased pixels marked: -1 in the paper, 254 here (255 stays "ignore")
    Y^te  teacher_labels    labels of the teacher
    Y^co                    complemented labels
    W     weight            certainty weight of the complemented labels

Keyword arguments stand for the points that the paper leaves open; the first value named is the default.
"""

import math
import warnings
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from threadpoolctl import threadpool_limits
from torch import Tensor

from maskmill.choices import check_choice
from maskmill.data.images import IGNORE
from maskmill.training.devices import divisor

BIASED = 254
KMEANS_ITERATIONS = 25


# Sec. 3.2: image-wise centroids


def patch_labels(labels: np.ndarray, grid: tuple[int, int], num_classes: int) -> np.ndarray:
    """Labels on the feature grid, by majority vote of the pixels in each cell.

    Pixel (y, x) belongs to cell (floor(y h / H), floor(x w / W)), so the grid need not divide the image.

    Args:
        labels: uint8 [H, W], 0..num_classes-1 and 255.
        grid: (h, w), at most (H, W).
        num_classes: with the background.

    Returns:
        uint8 [h, w]; the smallest id wins a tie, so 255 wins only with more pixels than any class.

    Raises:
        ValueError: the grid is finer than the labels, or a label is out of range.
    """
    (h, w), (height, width) = grid, labels.shape
    if h > height or w > width:
        raise ValueError(f"a grid of {h}x{w} has cells without a pixel of labels of {height}x{width}")
    cells = (np.arange(height) * h // height)[:, None] * w + np.arange(width) * w // width  # [H, W]
    ids = np.where(labels == IGNORE, num_classes, labels).astype(np.intp)
    if ids.max() > num_classes:
        raise ValueError(f"label {labels[ids > num_classes].max()} is out of range 0..{num_classes - 1}")
    slots = num_classes + 1
    votes = np.bincount((cells * slots + ids).ravel(), minlength=h * w * slots).reshape(h, w, slots)
    winners = votes.argmax(axis=-1)
    return np.where(winners == num_classes, IGNORE, winners).astype(np.uint8)


def upsampled(features: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Features float [D, h, w] at `size` (H, W), bilinear, as float32 [D, H, W]."""
    tensor = torch.from_numpy(np.asarray(features, np.float32))[None]
    return F.interpolate(tensor, size, mode="bilinear", align_corners=False)[0].numpy()


def image_centroids(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    k_foreground: int = 2,
    k_background: int = 2,
    samples: str = "patches",
    kmeans: str = "spherical",
    few_samples: str = "repeat",
    seed: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """K-means centroids of each class in the pseudo label of one image (MARS, Sec. 3.2).

    Args:
        features: float [D, h, w].
        labels: uint8 [H, W] or [h, w], class ids and 255; the background 0 counts as a class.
        k_foreground, k_background: K_fg and K_bg.
        samples: `patches` clusters the vectors of the grid, labelled by `patch_labels`; `pixels` clusters the vectors
            of the features upsampled to [H, W].
        kmeans: `spherical` clusters L2-normalised vectors, `euclidean` the vectors as they are. Centroids are the means
            of the clustered vectors and are not normalised again.
        few_samples: where a region has fewer than K vectors, `repeat` them up to K centroids, or `skip` the region.
        seed: of k-means++. The same seed for all images makes the result independent of their order.

    Returns:
        centroids float32 [n, D]; classes uint8 [n], ascending; counts int64 [n] of vectors in each cluster.
    """
    check_choice("samples", samples, ("patches", "pixels"))
    check_choice("kmeans", kmeans, ("spherical", "euclidean"))
    check_choice("few_samples", few_samples, ("repeat", "skip"))
    features = np.asarray(features, np.float32)
    if samples == "patches":
        present = labels[labels != IGNORE]
        labels = patch_labels(labels, (features.shape[1], features.shape[2]), int(present.max(initial=0)) + 1)
    else:
        features = upsampled(features, (labels.shape[0], labels.shape[1]))
    dimension = len(features)
    vectors, vector_labels = features.reshape(dimension, -1).T, labels.ravel()
    if kmeans == "spherical":
        vectors = _unit(vectors)

    centroids, counts = [np.empty((0, dimension), np.float32)], [np.empty(0, np.int64)]
    classes: list[int] = []
    with threadpool_limits(1, user_api="openmp"):  # with more threads the sums inside K-means change from run to run
        for label in np.unique(vector_labels[vector_labels != IGNORE]):
            region = vectors[vector_labels == label]
            k = k_foreground if label > 0 else k_background
            if len(region) < k and few_samples == "skip":
                continue
            centres, sizes = _cluster(region, k, seed)
            centroids.append(centres)
            classes += [label] * k
            counts.append(sizes)
    return np.concatenate(centroids), np.array(classes, np.uint8), np.concatenate(counts)


def _cluster(vectors: np.ndarray, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """K centroids [k, D] of vectors [n, D] and the number of vectors in the cluster of each [k]."""
    from sklearn.cluster import KMeans  # slower to import than torch, and only one of MARS's stages clusters
    from sklearn.exceptions import ConvergenceWarning

    if len(vectors) < k:
        return vectors[np.arange(k) % len(vectors)], np.ones(k, np.int64)
    model = KMeans(k, init="k-means++", n_init=1, max_iter=KMEANS_ITERATIONS, tol=0, random_state=seed)
    with warnings.catch_warnings():  # fewer than k distinct vectors give equal centroids, as `repeat` should
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(vectors)
    return model.cluster_centers_, np.bincount(model.labels_, minlength=k)


# Equations 1-3: debiased centroids


def mean_background(background: np.ndarray) -> np.ndarray:
    """m [D], float64: the mean of the L2-normalised background centroids [N_bg, D] of all images."""
    return _unit(np.asarray(background, np.float64)).mean(axis=0)


def background_distance(centroids: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Eq. 1, the mean distance of each centroid to the N_bg background centroids: float64 [n], in 0..1.

    dist(v) = 1/N_bg sum_j D(v, v_j^0) = (1 - v/|v| . m) / 2, because the cosine is linear in v_j/|v_j|. Long distances
    mark the target, short distances mark things that also appear as background.

    Args:
        centroids: float [n, D].
        mean: m of `mean_background`, [D].
    """
    return (1 - _unit(np.asarray(centroids, np.float64)) @ mean) / 2


def selected_count(centroids: int, alpha: float) -> int:
    """ceil(n alpha) of Eq. 3, with the decimal value of alpha: 0.07 of 100 is 7, not 8."""
    return math.ceil(centroids * Fraction(str(alpha)))


def debiased_centroids(
    centroids: np.ndarray,
    classes: np.ndarray,
    distances: np.ndarray,
    *,
    num_classes: int,
    alpha: float = 0.4,
    normalise_centroids: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Eq. 2-3: per class, the mean of the ceil(n alpha) centroids that are farthest from the background.

    n is the number of centroids of the class. With `few_samples=repeat` it is the paper's N_c K_fg, where N_c is the
    number of images whose pseudo label contains the class; with `skip` it may be smaller. Equal distances keep the
    order of the rows.

    Args:
        centroids: float [n, D], of all images; rows of class 0 are ignored.
        classes: mask ids [n].
        distances: Eq. 1 for each row, [n].
        num_classes: with the background, C+1.
        alpha: share that is kept, in (0, 1].
        normalise_centroids: False takes the mean as Eq. 2 prints it, True the mean of L2-normalised centroids.

    Returns:
        V float64 [num_classes, D] by mask id, NaN in row 0 and for classes without a centroid; and the rows that are
        kept, bool [n].
    """
    centroids = np.asarray(centroids, np.float64)
    if normalise_centroids:
        centroids = _unit(centroids)
    class_centroids = np.full((num_classes, centroids.shape[1]), np.nan)
    selected = np.zeros(len(centroids), bool)
    for label in np.unique(classes[classes > 0]):
        members = np.flatnonzero(classes == label)
        farthest_first = members[np.argsort(-distances[members], kind="stable")]
        chosen = farthest_first[: selected_count(len(members), alpha)]
        class_centroids[label] = centroids[chosen].mean(axis=0)
        selected[chosen] = True
    return class_centroids, selected


# Equations 4-5: debiased labels


def object_likelihood(features: np.ndarray, class_centroids: np.ndarray, classes: list[int]) -> np.ndarray:
    """Eq. 4: M^(p) = ReLU(max over c in C_I of S(F(p), V^c)), float [h, w] in 0..1, float32 at least.

    Eq. 4 takes the maximum over the image's classes on purpose: unsupervised features cannot tell a horse from a sheep.

    Args:
        features: float [D, h, w].
        class_centroids: V of `debiased_centroids`, [C+1, D].
        classes: mask ids of the image's classes. Classes without a centroid (NaN) are left out; if none is left, the
            likelihood is 0.
    """
    precision = np.result_type(features, np.float32)
    targets = class_centroids[list(classes)].astype(precision)
    targets = _unit(targets[np.isfinite(targets).all(axis=1)])
    cosines = np.tensordot(targets, _unit(features.astype(precision), axis=0), axes=1)  # [|C_I|, h, w]
    return cosines.max(axis=0, initial=0).clip(0, 1)


def likelihood_probabilities(
    likelihood: np.ndarray, *, background: str = "complement", gamma: float = 2.0, rescale: str = "none"
) -> np.ndarray:
    """The object likelihood as probabilities of two classes, for a CRF: float [2, H, W], background first, sum 1.

    Args:
        likelihood: M^ [H, W] in 0..1.
        background: `complement` is 1 - M^; `power` is (1 - M^)^gamma against M^, as in RS+EPM (released code
            shjo-april/RecurSeed_and_EdgePredictMix).
        gamma: exponent of `power`.
        rescale: `none`, or `max`: M^ divided by its maximum in the image.
    """
    check_choice("background", background, ("complement", "power"))
    check_choice("rescale", rescale, ("none", "max"))
    if rescale == "max" and likelihood.max() > 0:
        likelihood = likelihood / likelihood.max()
    exponent = gamma if background == "power" else 1
    both = np.stack([(1 - likelihood) ** exponent, likelihood])
    return both / both.sum(axis=0)


def debias(labels: np.ndarray, mask: np.ndarray, biased: int = BIASED) -> np.ndarray:
    """Y^db of Eq. 5, [H, W]: foreground outside of the object mask becomes `biased`; background and 255 stay.

    Args:
        labels: Y^b uint8 [H, W].
        mask: M bool [H, W], True on objects.
        biased: mark of biased pixels. 254 keeps uint8; the paper's -1 gives int16.
    """
    foreground = (labels > 0) & (labels != IGNORE)
    debiased_labels = labels.astype(np.result_type(labels, np.min_scalar_type(biased)))
    debiased_labels[foreground & ~mask] = biased
    return debiased_labels


# Equations 6-7: complemented labels and the weighted cross entropy


def teacher_labels(probabilities: Tensor, tags: Tensor, *, label_space: str = "image") -> Tensor:
    """Y^te int64 [B, H, W]: the teacher's most probable class.

    Args:
        probabilities: of the teacher, [B, C+1, H, W], refined or not.
        tags: bool [B, C].
        label_space: `image` allows background and the image's classes, `all` every class.
    """
    check_choice("label_space", label_space, ("image", "all"))
    if label_space == "image":
        probabilities = torch.cat([probabilities[:, :1], _of_the_image(probabilities, tags, absent=-1)], dim=1)
    return probabilities.argmax(dim=1)


def complement(debiased_labels: Tensor, teacher_labels: Tensor, biased: int = BIASED) -> Tensor:
    """Eq. 6: Y^co int64 [B, H, W], the teacher's labels Y^te at biased pixels of Y^db, Y^db elsewhere."""
    return torch.where(debiased_labels == biased, teacher_labels.long(), debiased_labels.long())


def certainty_weight(probabilities: Tensor, debiased_labels: Tensor, tags: Tensor, biased: int = BIASED) -> Tensor:
    """W of Eq. 7, [B, H, W]: at biased pixels the teacher's largest probability of the image's classes, else 1.

    The background does not count: where the teacher labels a biased pixel as background, the weight is still the
    (then small) probability of a foreground class.

    Args:
        probabilities: the teacher's softmax over all classes, [B, C+1, H, W].
        debiased_labels: Y^db [B, H, W].
        tags: bool [B, C].
        biased: mark of biased pixels in Y^db.
    """
    confidence = _of_the_image(probabilities, tags, absent=0).amax(dim=1)
    return torch.where(debiased_labels == biased, confidence, torch.ones_like(confidence))


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weight: Tensor, *, normalise: str = "valid") -> Tensor:
    """Eq. 7: -sum over p of W(p) log P(Y^co(p)), without the pixels of label 255. A scalar.

    Args:
        logits: of the student, [B, C+1, H, W].
        labels: Y^co int64 [B, H, W].
        weight: W [B, H, W].
        normalise: `valid` divides by the number of valid pixels, `sum` does not divide, `weight` divides by
            the sum of W over valid pixels; both counted over all devices.
    """
    check_choice("normalise", normalise, ("valid", "sum", "weight"))
    valid = labels != IGNORE
    total = (weight * F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")).sum()
    if normalise == "sum":
        return total
    return total / (divisor(valid.sum()) if normalise == "valid" else divisor((weight * valid).sum(), 1e-6))


def _of_the_image(probabilities: Tensor, tags: Tensor, absent: float) -> Tensor:
    """Foreground planes [B, C, H, W], filled with `absent` for classes that the image does not have."""
    return probabilities[:, 1:].masked_fill(~tags.bool()[:, :, None, None], absent)


def _unit(vectors: np.ndarray, axis: int = -1) -> np.ndarray:
    """L2-normalised vectors; zeros stay zeros."""
    norms = np.linalg.norm(vectors, axis=axis, keepdims=True)
    return vectors / np.maximum(norms, np.finfo(norms.dtype).tiny)

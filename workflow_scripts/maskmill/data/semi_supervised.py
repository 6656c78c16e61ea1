"""What semi-supervised students are trained on: labelled and unlabelled images side by side.

Teachers' maps, where they were stored, go through the same resize, flip and crop as the image that they are of.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from maskmill.data.images import IGNORE, read_image
from maskmill.data.index import Record
from maskmill.data.transforms import Augmentation, Geometry, StrongAugmentation
from maskmill.methods.mgd import cutmix_masks, partner

Store = Mapping[str, np.ndarray]  # image id to array: a map store, or `Masks`


class ConfidentLabels(Mapping):
    """Pseudo labels of which those with little confidence are left out: image id to uint8 [H, W], 255 where less.

    Args:
        labels, confidence: stores of uint8 [H, W], the latter 255 times a probability.
        least: the smallest probability that counts, 0..1.
    """

    def __init__(self, labels: Store, confidence: Store, least: float):
        self.labels, self.confidence, self.least = labels, confidence, 255 * least

    def __getitem__(self, image_id: str) -> np.ndarray:
        return np.where(self.confidence[image_id] < self.least, np.uint8(IGNORE), self.labels[image_id])

    def __iter__(self) -> Iterator[str]:
        return iter(self.labels)

    def __len__(self) -> int:
        return len(self.labels)


class _Pairs:
    """Of two lists, the shorter one starts again, in a new order, until the longer one is through.

    Attributes:
        lengths: of both lists; `sample` gets an index into each.
    """

    def __init__(self, labelled, unlabelled, augmentation, mean, std, masks, short_side):
        self.labelled, self.unlabelled, self.masks = labelled, unlabelled, masks
        self.augmentation, self.mean, self.std, self.short_side = augmentation, mean, std, short_side
        self.lengths = len(labelled), len(unlabelled)

    def __len__(self) -> int:
        return max(self.lengths)

    def _read(self, record: Record) -> np.ndarray:
        return read_image(record.image, self.short_side)

    def _crop(self, image: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Geometry]:
        geometry, jitter = self.augmentation.draw(image.shape[:2], rng)
        return geometry.image(image, self.mean, self.std, jitter), geometry


class CWBASSImages(_Pairs):
    """Crops for CW-BASS: of a labelled image, and of an unlabelled one with pseudo labels or for a teacher to label.

    Args:
        labelled, unlabelled: images to draw from; no mask of an unlabelled one is asked for.
        augmentation, mean, std: of both; normalisation of the network.
        masks: labels of the labelled images, uint8 [H, W] at working size.
        labels, confidence: pseudo labels of the unlabelled images, uint8 [H, W] at working size, and 255 times their
            confidence, uint8 [H, W]; None where a teacher runs beside the student.
        strong: further augmentation of the unlabelled crop, or None.
        cutmix: whether the hole of `strong` is for another image's pixels instead of being cut out (second release).
        short_side: working size of the images, see `read_image`.
    """

    def __init__(
        self,
        labelled: list[Record],
        unlabelled: list[Record],
        augmentation: Augmentation,
        mean,
        std,
        *,
        masks: Store,
        labels: Store | None = None,
        confidence: Store | None = None,
        strong: StrongAugmentation | None = None,
        cutmix: bool = False,
        short_side: int | None = None,
    ):
        super().__init__(labelled, unlabelled, augmentation, mean, std, masks, short_side)
        if (labels is None) != (confidence is None):
            raise ValueError("give labels and confidence, or neither")
        self.labels, self.confidence, self.strong = labels, confidence, strong
        self.cutmix = cutmix and strong is not None

    def sample(self, index: tuple[int, int], rng: np.random.Generator) -> dict[str, Tensor]:
        """One example of a labelled and an unlabelled image.

        `image` float32 [3, crop, crop] and `label` int64 [crop, crop]; `unlabelled` float32 [3, crop, crop], with the
        strong augmentation. With pseudo labels: `pseudo` int64 [crop, crop] and `confidence` float32 [crop, crop] in
        0..1; 255 and 0 in padding and where a hole was cut. Without: `weak` float32 [3, crop, crop], the unlabelled
        crop as a teacher sees it, and `ignore` bool [crop, crop], true in padding and holes. With CutMix `hole` bool
        [1, crop, crop] comes with the example, and nothing is cut.
        """
        record = self.labelled[index[0]]
        pixels, geometry = self._crop(self._read(record), rng)
        example = {"image": pixels, "label": geometry.label(self.masks[record.image_id])}
        return example | self._unlabelled(self.unlabelled[index[1]], rng)

    def _unlabelled(self, record: Record, rng: np.random.Generator) -> dict[str, Tensor]:
        image = self._read(record)
        geometry, jitter = self.augmentation.draw(image.shape[:2], rng)
        weak = geometry.window(image)
        strong, ignore, mixing = weak, geometry.padding(), {}
        if self.strong is not None:
            strong, hole = self.strong(weak, rng), self.strong.cutout(geometry.crop, rng)
            if self.cutmix:
                mixing = {"hole": hole[None]}
            else:
                ignore |= hole
        # A hole has the mean colour, as padding has.
        pixels = geometry.normalised(strong, self.mean, self.std, jitter).masked_fill(ignore, 0)
        if self.labels is None:
            seen = geometry.normalised(weak, self.mean, self.std, jitter)
            return {"unlabelled": pixels, "weak": seen, "ignore": ignore} | mixing
        return mixing | {
            "unlabelled": pixels,
            "pseudo": geometry.label(self.labels[record.image_id]).masked_fill(ignore, IGNORE),
            "confidence": geometry.confidence(self.confidence[record.image_id]).masked_fill(ignore, 0),
        }


class MGDImages(_Pairs):
    """Crops for MGD and CPS: of a labelled image and of two unlabelled ones, with the mask that mixes these.

    Args:
        labelled, unlabelled: images to draw from; no mask of an unlabelled one is asked for.
        augmentation, mean, std: of all; normalisation of the network.
        masks: labels of the labelled images, uint8 [H, W] at working size.
        cutmix: keyword arguments of `cutmix_masks`; None mixes nothing, x_m is x_0.
        pairing: see `partner`.
        caches: maps of the teachers over all images, `{"wide": {"label", "features"}, "deep": {"label", "logits"}}`;
            labels uint8 [H, W] at working size, others float [C, h, w] with cells that tile the image. Those of them
            that are given are cropped; None where the teachers run beside the student.
        features_stride, logits_stride: pixels of the crop to a cell of these maps, as the student gets them.
        short_side: working size of the images, see `read_image`.
    """

    def __init__(
        self,
        labelled: list[Record],
        unlabelled: list[Record],
        augmentation: Augmentation,
        mean,
        std,
        *,
        masks: Store,
        cutmix: dict | None,
        pairing: str = "same",
        caches: Mapping[str, Mapping[str, Store]] | None = None,
        features_stride: int = 16,
        logits_stride: int = 8,
        short_side: int | None = None,
    ):
        super().__init__(labelled, unlabelled, augmentation, mean, std, masks, short_side)
        self.cutmix, self.pairing = cutmix, pairing
        self.stores = {f"{teacher}_{kind}": m for teacher, maps in (caches or {}).items() for kind, m in maps.items()}
        self.sides = {"features": augmentation.crop // features_stride, "logits": augmentation.crop // logits_stride}

    def sample(self, index: tuple[int, int], rng: np.random.Generator) -> dict[str, Tensor]:
        """One example of a labelled and an unlabelled image.

        Of the labelled image x_l: `image` float32 [3, crop, crop], `label` int64 [crop, crop] and `padding` bool
        [crop, crop], true where the crop has no image. Of the unlabelled x_0 and x_1: `image_0`, `image_1`,
        `padding_0`, `padding_1`. `mask` bool [1, crop, crop] is m.

        With caches also `wide_label`, `deep_label` of x_l and, with `_0` and `_1`, of x_0 and x_1, int64
        [crop, crop], 255 in padding; and of x_0 and x_1 `wide_features_*` and `deep_logits_*`, float32 [C, side, side]
        with side = crop // stride, 0 in padding.
        """
        record, number = self.labelled[index[0]], index[1]
        names = [name for name in self.stores if _kind(name) == "label"]
        example = self._view(self._arrays(record, names) | {"label": self.masks[record.image_id]}, rng)
        other = partner(number, len(self.unlabelled), rng, pairing=self.pairing)
        first = self._arrays(self.unlabelled[number], self.stores)
        second = first if other == number else self._arrays(self.unlabelled[other], self.stores)
        for end, arrays in (("_0", first), ("_1", second)):
            example |= {name + end: view for name, view in self._view(arrays, rng).items()}
        return example | {"mask": self._mask(rng)}

    def _arrays(self, record: Record, names) -> dict[str, np.ndarray]:
        return {"image": self._read(record)} | {name: self.stores[name][record.image_id] for name in names}

    def _view(self, arrays: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, Tensor]:
        """One crop of an image and its maps."""
        pixels, geometry = self._crop(arrays["image"], rng)
        view = {"image": pixels, "padding": geometry.padding()}
        for name, array in arrays.items():
            if _kind(name) == "label":
                view[name] = geometry.label(array)
            elif _kind(name) in self.sides:
                view[name] = geometry.cells(array, self.sides[_kind(name)])
        return view

    def _mask(self, rng: np.random.Generator) -> Tensor:
        size = (self.augmentation.crop, self.augmentation.crop)
        if self.cutmix is None:
            return torch.zeros(1, *size, dtype=torch.bool)
        return torch.from_numpy(cutmix_masks(1, size, rng, **self.cutmix))


def _kind(name: str) -> str:
    return name.split("_")[-1]

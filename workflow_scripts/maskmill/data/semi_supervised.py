"""Training images of semi-supervised students: labelled and unlabelled images side by side.

CW-BASS's pseudo labels go through the same resize, flip and crop as their image.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maskmill.data.cutmix import cutmix_masks, partner
from maskmill.data.datasets import Masks
from maskmill.data.images import IGNORE, read_image
from maskmill.data.index import Record, read_ids
from maskmill.data.partitions import unlabelled_records
from maskmill.data.transforms import Augmentation, Geometry, StrongAugmentation

Store = Mapping[str, np.ndarray]  # image id to array: a map store, or `Masks`


class _Pairs:
    """Images of two lists; the shorter list starts again, in a new order, until the longer one is at its end.

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
    """Crops for CW-BASS: of a labelled image, and of an unlabelled one, with pseudo labels or for a teacher to label.

    Args:
        labelled, unlabelled: images to draw from. Masks of unlabelled images are never opened.
        augmentation: of both images.
        mean, std: normalisation of the network.
        masks: labels of the labelled images, uint8 [H, W] at working size.
        labels, confidence: pseudo labels of the unlabelled images, uint8 [H, W] at working size, and 255 times their
            confidence, uint8 [H, W]; None where a teacher runs beside the student.
        strong: further augmentation of the unlabelled crop, or None.
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
        short_side: int | None = None,
    ):
        super().__init__(labelled, unlabelled, augmentation, mean, std, masks, short_side)
        if (labels is None) != (confidence is None):
            raise ValueError("give labels and confidence, or neither")
        self.labels, self.confidence, self.strong = labels, confidence, strong

    def sample(self, index: tuple[int, int], rng: np.random.Generator) -> dict[str, Tensor]:
        """One example of a labelled and an unlabelled image.

        `image` float32 [3, crop, crop] and `label` int64 [crop, crop]; `unlabelled` float32 [3, crop, crop], with the
        strong augmentation. With pseudo labels: `pseudo` int64 [crop, crop] and `confidence` float32 [crop, crop] in
        0..1; 255 and 0 in padding and holes. Without pseudo labels: `weak` float32 [3, crop, crop], the unlabelled crop
        as a teacher sees it, and `ignore` bool [crop, crop], true in padding and holes.
        """
        record = self.labelled[index[0]]
        pixels, geometry = self._crop(self._read(record), rng)
        example = {"image": pixels, "label": geometry.label(self.masks[record.image_id])}
        return example | self._unlabelled(self.unlabelled[index[1]], rng)

    def _unlabelled(self, record: Record, rng: np.random.Generator) -> dict[str, Tensor]:
        image = self._read(record)
        geometry, jitter = self.augmentation.draw(image.shape[:2], rng)
        weak = geometry.window(image)
        strong, ignore = weak, geometry.padding()
        if self.strong is not None:
            strong = self.strong(weak, rng)
            ignore |= self.strong.cutout(geometry.crop, rng)
        # A hole has the mean colour, as padding has.
        pixels = geometry.normalised(strong, self.mean, self.std, jitter).masked_fill(ignore, 0)
        if self.labels is None or self.confidence is None:
            weak_pixels = geometry.normalised(weak, self.mean, self.std, jitter)
            return {"unlabelled": pixels, "weak": weak_pixels, "ignore": ignore}
        return {
            "unlabelled": pixels,
            "pseudo": geometry.label(self.labels[record.image_id]).masked_fill(ignore, IGNORE),
            "confidence": geometry.confidence(self.confidence[record.image_id]).masked_fill(ignore, 0),
        }


class MGDImages(_Pairs):
    """Crops for MGD and CPS: of a labelled image and of two unlabelled ones, with the mask that mixes the latter.

    Args:
        labelled, unlabelled: images to draw from. Masks of unlabelled images are never opened.
        augmentation: of all three images.
        mean, std: normalisation of the network.
        masks: labels of the labelled images, uint8 [H, W] at working size.
        cutmix: keyword arguments of `cutmix_masks`; None: no mixing, x_m is x_0.
        pairing: see `partner`.
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
        short_side: int | None = None,
    ):
        super().__init__(labelled, unlabelled, augmentation, mean, std, masks, short_side)
        self.cutmix, self.pairing = cutmix, pairing

    def sample(self, index: tuple[int, int], rng: np.random.Generator) -> dict[str, Tensor]:
        """One example of a labelled and an unlabelled image.

        Of the labelled image x_l: `image` float32 [3, crop, crop], `label` int64 [crop, crop] and `padding` bool
        [crop, crop], true where the crop has no image. Of the unlabelled x_0 and x_1: `image_0`, `image_1`,
        `padding_0`, `padding_1`. `mask` bool [1, crop, crop] is m.
        """
        record, number = self.labelled[index[0]], index[1]
        pixels, geometry = self._crop(self._read(record), rng)
        label = geometry.label(self.masks[record.image_id])
        example = {"image": pixels, "padding": geometry.padding(), "label": label}
        other = partner(number, len(self.unlabelled), rng, pairing=self.pairing)
        first = self._read(self.unlabelled[number])
        second = first if other == number else self._read(self.unlabelled[other])
        for end, image in (("_0", first), ("_1", second)):
            pixels, geometry = self._crop(image, rng)
            example |= {f"image{end}": pixels, f"padding{end}": geometry.padding()}
        return example | {"mask": self._mask(rng)}

    def _mask(self, rng: np.random.Generator) -> Tensor:
        size = (self.augmentation.crop, self.augmentation.crop)
        if self.cutmix is None:
            return torch.zeros(1, *size, dtype=torch.bool)
        return torch.from_numpy(cutmix_masks(1, size, rng, **self.cutmix))


def mgd_images(
    records: Mapping[str, Record],
    labelled: str | Path,
    unlabelled: str | Path,
    num_classes: int,
    mean,
    std,
    *,
    augmentation: dict,
    cutmix: dict | None,
    pairing: str,
    short_side: int | None,
) -> MGDImages:
    """Crops for MGD of the images of two id lists.

    Args: see `MGDImages`.

    Raises:
        InputError: as `read_ids` and `Masks`.
    """
    labelled_records = [records[image_id] for image_id in read_ids(labelled)]
    return MGDImages(
        labelled_records,
        unlabelled_records(records, read_ids(unlabelled)),
        Augmentation(**augmentation),
        mean,
        std,
        masks=Masks(labelled_records, num_classes, short_side),
        cutmix=cutmix,
        pairing=pairing,
        short_side=short_side,
    )


def crops_of(batch: Mapping[str, Tensor], padding_counts: bool) -> tuple:
    """Inputs of the teachers from a batch of `MGDImages`: x_l, (x_0, x_1), m, and the padding of x_l, x_0 and x_1.

    Args:
        padding_counts: whether padded pixels count as the image's do; the padding is then None.
    """
    padding = None if padding_counts else (batch["padding"], batch["padding_0"], batch["padding_1"])
    return batch["image"], (batch["image_0"], batch["image_1"]), batch["mask"], padding

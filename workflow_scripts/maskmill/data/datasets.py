"""Training data of most networks: images of the index with their tags and, optionally, labels from a map store."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maskmill.data.images import read_image, read_mask
from maskmill.data.index import UNTAGGED, Record
from maskmill.data.transforms import Augmentation
from maskmill.errors import InputError

logger = logging.getLogger(__name__)


class TrainingImages:
    """Random crops of images, for the training loop.

    Args:
        records: images to draw from. Their masks are never opened, unless `labels` are `Masks`.
        augmentation: of image and labels.
        mean, std: normalisation of the network, RGB in 0..1.
        num_classes: with background.
        labels: maps an image id to class ids uint8 [H, W] at the image's working size (a map store, or `Masks`); None:
            tags only.
        short_side: working size of the images, see `read_image`.
    """

    def __init__(
        self,
        records: list[Record],
        augmentation: Augmentation,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        num_classes: int,
        labels: Mapping[str, np.ndarray] | None = None,
        short_side: int | None = None,
    ):
        self.records, self.augmentation, self.mean, self.std = records, augmentation, mean, std
        self.num_classes, self.labels, self.short_side = num_classes, labels, short_side

    def __len__(self) -> int:
        return len(self.records)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """One random crop: `image` float32 [3, crop, crop], `tags` bool [num_classes - 1] and, if there are labels,
        `label` int64 [crop, crop]."""
        record = self.records[index]
        image = read_image(record.image, self.short_side)
        label = None if self.labels is None else self.labels[record.image_id]
        pixels, labels = self.augmentation(image, label, self.mean, self.std, rng)
        example = {"image": pixels, "tags": tags(record, self.num_classes)}
        if labels is not None:
            example["label"] = labels
        return example


class Masks(Mapping):
    """The true masks of some images: maps an image id to class ids uint8 [H, W] at working size. Each access reads the
    file.

    Args:
        records: the images.
        num_classes, short_side: see `read_mask`.

    Raises:
        InputError: an image has no mask.
    """

    def __init__(self, records: list[Record], num_classes: int, short_side: int | None = None):
        self.files: dict[str, Path] = {}
        self.num_classes, self.short_side = num_classes, short_side
        for record in records:
            if record.mask is None:
                raise InputError(
                    f"image {record.image_id} has no mask to learn from; remove its id from the training list"
                )
            self.files[record.image_id] = record.mask

    def __getitem__(self, image_id: str) -> np.ndarray:
        return read_mask(self.files[image_id], self.num_classes, self.short_side)

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)


def check_tags(records: list[Record], class_names: Sequence[str], fix: str) -> None:
    """Make sure that of every image it is known what it shows, and warn of classes that every image shows.

    Args:
        class_names: in the order of the mask ids.

    Raises:
        InputError: nobody said what an image shows; the message ends with `fix`.
    """
    without = [record for record in records if UNTAGGED in record.splits]
    if without:
        count = f"{len(without)} of {len(records)} images have none"
        raise InputError(f"{without[0].image}: the image has no tags to learn from ({count}); {fix}")
    for number in sorted(set.intersection(*(set(record.classes) for record in records))):
        logger.warning(
            "warning: all %d training images show %r, so nothing teaches what it is not; add images without it, with "
            "an empty field where they show no class",
            *(len(records), class_names[number]),
        )


def tags(record: Record, num_classes: int) -> Tensor:
    """The foreground classes of an image, bool [num_classes - 1]: position 0 is class id 1; id 0 has no tag."""
    present = torch.zeros(num_classes - 1, dtype=torch.bool)
    present[torch.tensor([c - 1 for c in record.classes if c > 0], dtype=torch.long)] = True
    return present

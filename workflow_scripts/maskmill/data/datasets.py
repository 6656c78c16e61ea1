"""Training data of most networks: images of the index with their tags and, optionally, labels from a map store."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maskmill.data.images import read_image, read_mask
from maskmill.data.index import Record
from maskmill.data.transforms import Augmentation
from maskmill.errors import InputError


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


def check_tags(records: list[Record], fix: str) -> None:
    """Make sure that every image has tags.

    Raises:
        InputError: one has none; the message ends with `fix`.
    """
    without = [record for record in records if not record.classes]
    if without:
        count = f"{len(without)} of {len(records)} images have none"
        raise InputError(f"{without[0].image}: the image has no tags to learn from ({count}); {fix}")


def tags(record: Record, num_classes: int) -> Tensor:
    """The foreground classes of an image, bool [num_classes - 1]: position 0 is class id 1; id 0 has no tag."""
    present = torch.zeros(num_classes - 1, dtype=torch.bool)
    present[torch.tensor([c - 1 for c in record.classes if c > 0], dtype=torch.long)] = True
    return present

"""What networks are trained on: images of the index with tags and, where wanted, labels from a map store."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from maskmill.data.images import read_image, read_mask
from maskmill.data.index import Record
from maskmill.data.transforms import Augmentation
from maskmill.errors import InputError


class TrainingImages:
    """Random crops of images, in the form the training loop asks for.

    Args:
        records: images to draw from. Their masks are never opened, unless `labels` are `Masks`.
        augmentation, mean, std: see `Augmentation`; normalisation of the network.
        num_classes: with background.
        labels: image id to label map uint8 [H, W] at the images' working size (a map store, or `Masks`); None for tags
            alone.
        short_side: working size of the images, see `read_image`.
    """

    def __init__(
        self,
        records: list[Record],
        augmentation: Augmentation,
        mean,
        std,
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
        """One example: `image` float32 [3, crop, crop], `tags` bool [num_classes - 1] and, with labels, `label`
        int64 [crop, crop]."""
        record = self.records[index]
        image = read_image(record.image, self.short_side)
        label = None if self.labels is None else self.labels[record.image_id]
        pixels, labels = self.augmentation(image, label, self.mean, self.std, rng)
        example = {"image": pixels, "tags": tags(record, self.num_classes)}
        if labels is not None:
            example["label"] = labels
        return example


class Masks(Mapping):
    """The true masks of some images: image id to uint8 [H, W] at working size, read from file each time.

    Args:
        records: the images.
        num_classes, short_side: see `read_mask`.
    """

    def __init__(self, records: list[Record], num_classes: int, short_side: int | None = None):
        self.files = {record.image_id: record.mask for record in records}
        self.num_classes, self.short_side = num_classes, short_side
        missing = next((image_id for image_id, mask in self.files.items() if mask is None), None)
        if missing is not None:
            raise InputError(f"image {missing} has no mask to learn from; remove its id from the training list")

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
    """bool [num_classes - 1]: which foreground classes the image has (position 0 is class id 1; id 0 has no tag)."""
    present = torch.zeros(num_classes - 1, dtype=torch.bool)
    present[torch.tensor([c - 1 for c in record.classes if c > 0], dtype=torch.long)] = True
    return present

"""What networks are trained on: images of the index with tags and, where wanted, labels from a map store."""

import numpy as np
import torch
from torch import Tensor

from maskmill.data.images import read_image
from maskmill.data.index import Record
from maskmill.data.transforms import Augmentation
from maskmill.storage.maps import Maps


class TrainingImages:
    """Random crops of images, in the form the training loop asks for.

    Args:
        records: images to draw from. Their masks are never opened.
        augmentation, mean, std: see `Augmentation`; normalisation of the network.
        num_classes: with background.
        labels: map store with one label map per image, at the images' working size; None for tags alone.
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
        labels: Maps | None = None,
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


def tags(record: Record, num_classes: int) -> Tensor:
    """bool [num_classes - 1]: which foreground classes the image has (position 0 is class id 1)."""
    present = torch.zeros(num_classes - 1, dtype=torch.bool)
    present[torch.tensor(record.classes, dtype=torch.long) - 1] = True
    return present

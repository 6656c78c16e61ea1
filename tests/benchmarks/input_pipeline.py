"""Images per second of the training input: `TrainingImages` and the loop's collation against Pillow and torchvision.

    python tests/benchmarks/input_pipeline.py [--voc VOC2012 --crop 512 --long-side 320 640]

Both read image and mask from their files, draw the longer side, the flip and the crop, resize (bicubic; the mask by
nearest neighbour), pad, normalise and stack a batch, without workers. Both draw the same numbers.

Printed: images per second of CPU time (median over batches), how many times faster maskmill is, the greatest difference
of the images, in levels of 0..255, and the share of the labels that differ. They differ by rounding: maskmill resizes
only what the crop shows, from a box between pixels, and of a part Pillow may resize columns before rows.
"""

import tempfile
from collections.abc import Callable

import numpy as np
import torch
from measuring import NUM_CLASSES, arguments, in_turn, pictures, print_table, rate, ratio, read_records
from PIL import Image
from torch.utils.data import default_collate
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from maskmill.data.datasets import Masks, TrainingImages
from maskmill.data.images import IGNORE
from maskmill.data.index import Record
from maskmill.data.transforms import Augmentation

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main():
    parser = arguments(__doc__, images=32)
    parser.add_argument("--crop", type=int, default=96, help="[96]")
    parser.add_argument("--long-side", type=int, nargs=2, default=(80, 112), help="range, pixels [80 112]")
    parser.add_argument("--batch", type=int, default=8, help="[8]")
    options = parser.parse_args()
    torch.set_num_threads(1)
    augmentation = Augmentation(crop=options.crop, long_side=tuple(options.long_side))
    with tempfile.TemporaryDirectory() as folder:
        records = read_records(options.voc, options.images, folder)
        ways = both_ways(records, augmentation)
        batches = [range(i, i + options.batch) for i in range(0, len(records) - options.batch + 1, options.batch)]
        seconds = in_turn(ways, batches, rounds=4)
        pairs = [(ways["plain"](batch), ways["maskmill"](batch)) for batch in batches]
    moved = np.mean([(plain["label"] != ours["label"]).float().mean().item() for plain, ours in pairs])
    row = [pictures(options.voc), options.crop, "-".join(map(str, options.long_side)), options.batch * len(batches)]
    row += [f"{rate(seconds[name], options.batch):.0f}" for name in ("plain", "maskmill")]
    row += [
        f"{ratio(seconds['plain'], seconds['maskmill']):.2f}",
        f"{max(map(levels, pairs)):.2f}",
        f"{100 * moved:.3f}",
    ]
    columns = ["pictures", "crop", "longer side", "images", "Pillow and torchvision, images/s", "maskmill, images/s"]
    columns += ["ratio", "most different, levels", "labels that differ, %"]
    print_table("Training input", columns, [row])


def both_ways(records: list[Record], augmentation: Augmentation) -> dict[str, Callable[[range], dict]]:
    """Positions of a batch to the batch, as the training loop stacks it."""
    images = TrainingImages(
        records, augmentation, MEAN, STD, num_classes=NUM_CLASSES, labels=Masks(records, NUM_CLASSES)
    )
    samples = {"maskmill": images.sample, "plain": lambda i, rng: plain_sample(records[i], augmentation, rng)}
    return {
        name: lambda batch, sample=sample: default_collate([sample(i, np.random.default_rng(i)) for i in batch])
        for name, sample in samples.items()
    }


def plain_sample(record: Record, augmentation: Augmentation, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    image, mask = Image.open(record.image).convert("RGB"), Image.open(record.mask)
    factor = rng.integers(augmentation.long_side[0], augmentation.long_side[1] + 1) / max(image.size)
    size = [max(1, round(image.height * factor)), max(1, round(image.width * factor))]
    image = F.resize(image, size, v2.InterpolationMode.BICUBIC)
    mask = F.resize(mask, size, v2.InterpolationMode.NEAREST)
    if rng.random() < 0.5:
        image, mask = F.horizontal_flip(image), F.horizontal_flip(mask)
    starts = [_start(length, augmentation.crop, rng) for length in size]
    corner = [max(start, 0) for start in starts]
    visible = [min(length, augmentation.crop) for length in size]
    top, left = (max(-start, 0) for start in starts)
    padding = [left, top, augmentation.crop - visible[1] - left, augmentation.crop - visible[0] - top]
    image, mask = F.crop(image, *corner, *visible), F.crop(mask, *corner, *visible)
    image = F.normalize(F.to_dtype(F.pil_to_tensor(image), torch.float32, scale=True), MEAN, STD)
    mask = torch.from_numpy(np.array(mask)).long()
    present = torch.zeros(NUM_CLASSES - 1, dtype=torch.bool)
    present[torch.tensor(record.classes, dtype=torch.long) - 1] = True
    return {
        "image": F.pad(image, padding, fill=0),
        "label": F.pad(mask[None], padding, fill=IGNORE)[0],
        "tags": present,
    }


def _start(length: int, crop: int, rng: np.random.Generator) -> int:
    """Of the crop in the image, or, less than 0, of the image in the crop."""
    return int(rng.integers(0, length - crop + 1)) if length >= crop else -int(rng.integers(0, crop - length + 1))


def levels(pair: tuple[dict, dict]) -> float:
    """The greatest difference of two batches of images, in levels of 0..255."""
    plain, ours = pair
    return float(((plain["image"] - ours["image"]).abs().amax((0, 2, 3)) * torch.tensor(STD)).max() * 255)


if __name__ == "__main__":
    main()

"""Images per second of the class activation maps: the stage `cams` against the loop of public pipelines.

    python tests/benchmarks/cam_inference.py [--voc VOC2012] [--backbone efficientnet_lite0 --scales 1.0 0.75 1.5]

The plain loop takes one image at a time, each scale and its mirror image in a forward pass of its own, in float32;
it enlarges the maps of all classes to the grid of stride 4, adds them up, picks the tags and divides each by its
maximum. Both read the image from its file; neither writes the maps. Weights are random, one thread.

Printed: images per second of CPU time (median), how many times faster the stage is, and the greatest difference of the
maps, which lie in 0..1.
"""

import copy
import sys
import tempfile
from pathlib import Path

import torch
from measuring import NUM_CLASSES, arguments, in_turn, pictures, print_table, rate, ratio, read_records
from torch.nn import functional as F

sys.path.append(str(Path(__file__).resolve().parents[2] / "workflow_scripts"))  # stages are scripts, no package
from maskmill.data.images import read_image
from maskmill.data.index import Record
from maskmill.data.transforms import network_input, scaled
from maskmill.networks.classifier import Classifier
from tags.cams import activation_maps, prepared


def main():
    parser = arguments(__doc__, images=12)
    parser.add_argument("--backbone", default="sample_cnn", help="[sample_cnn]")
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0, 1.5], help="[1.0 1.5]")
    parser.add_argument("--short-side", type=int, help="shorter side that images are shrunk to, pixels")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        records = read_records(options.voc, options.images, folder)
        ways = both_ways(build_classifier(options.backbone), options.scales, options.short_side)
        seconds = in_turn(ways, records, rounds=3)
        differences = [(ways["plain"](r) - ways["maskmill"](r)).abs().max().item() for r in records]
    shrunk = f", shorter side {options.short_side}" if options.short_side else ""
    row = [pictures(options.voc) + shrunk, options.backbone, " ".join(map(str, options.scales)), len(records)]
    row += [f"{rate(seconds[name]):.2f}" for name in ("plain", "maskmill")]
    row += [f"{ratio(seconds['plain'], seconds['maskmill']):.2f}", f"{max(differences):.0e}"]
    columns = ["pictures", "backbone", "scales", "images", "plain loop, images/s", "maskmill, images/s", "ratio"]
    print_table("Class activation maps", [*columns, "most different"], [row])


def build_classifier(backbone: str, num_classes: int = NUM_CLASSES) -> Classifier:
    torch.manual_seed(0)
    stride = 8 if backbone.startswith("sample") else 16
    return Classifier(backbone, num_classes - 1, output_stride=stride).eval()


def both_ways(classifier: Classifier, scales: list[float], short_side: int | None = None) -> dict:
    """Record to maps, float [tags, ceil(H/4), ceil(W/4)]: the plain loop's and the stage's."""
    faster = prepared(copy.deepcopy(classifier))

    @torch.inference_mode()
    def ours(record: Record) -> torch.Tensor:
        return activation_maps(faster, read_image(record.image, short_side), scales, record.classes)

    return {"plain": lambda record: plain_loop(classifier, record, scales, short_side), "maskmill": ours}


@torch.inference_mode()
def plain_loop(classifier: Classifier, record: Record, scales: list[float], short_side: int | None) -> torch.Tensor:
    image = read_image(record.image, short_side)
    height, width = image.shape[:2]
    grid = ((height - 1) // 4 + 1, (width - 1) // 4 + 1)
    total = torch.zeros(classifier.classifier.out_channels, *grid)
    for scale in scales:
        size = scaled((height, width), scale)
        pixels = network_input(image, classifier.backbone.mean, classifier.backbone.std, size)
        for flipped in (False, True):
            view = pixels.flip(-1) if flipped else pixels
            maps = F.relu(classifier.classifier(classifier.backbone(view)[-1]))
            maps = maps.flip(-1) if flipped else maps
            total += F.interpolate(maps, grid, mode="bilinear", align_corners=False)[0]
    total = total[torch.tensor(record.classes, dtype=torch.long) - 1]
    return total / (total.amax((1, 2), keepdim=True) + 1e-5)


if __name__ == "__main__":
    main()

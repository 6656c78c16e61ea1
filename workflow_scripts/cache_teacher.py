"""What a teacher says of one shard's images, for students that read it instead of running the teacher.

In: index, id lists, a segmentation network. Out: map stores: `labels` uint8 [H, W] and `confidence` uint8 [H, W],
round(255 c), at working size, averaged over `scales` and `flip`; and for MGD, from the plain image, float16 `logits` or
decoder `features` [C, H/s, W/s], averaged over the cells of their strides s.
"""

from contextlib import ExitStack

import torch
from torch.nn import functional as F

import stage
from maskmill.data.images import read_image
from maskmill.data.index import read_ids, read_index, shard
from maskmill.data.transforms import network_input
from maskmill.networks.device import inference_device
from maskmill.networks.segmentation import class_probabilities, load_segmentation
from maskmill.progress import progress
from maskmill.storage.maps import create_maps


@torch.inference_mode()
def main(
    index: str,
    ids: list[str],
    checkpoint: str,
    label_maps: str,
    confidence_maps: str,
    scales: list[float] = (1.0,),
    flip: bool = False,
    logits_maps: str | None = None,
    features_maps: str | None = None,
    logits_stride: int = 8,
    features_stride: int = 16,
    scatteritem: str = "1-of-1",
    short_side: int | None = None,
) -> None:
    records, device = read_index(index), inference_device()
    model = load_segmentation(checkpoint).to(device)
    mean, std = model.backbone.mean, model.backbone.std
    plain = list(scales) == [1.0] and not flip
    every = sorted({image_id for path in ids for image_id in read_ids(path)})
    parameters = {
        "short_side": short_side,
        "scales": list(scales),
        "flip": flip,
        "logits_stride": logits_stride,
        "features_stride": features_stride,
    }
    origin = {"producer": "cache_teacher", "parameters": parameters, "inputs": [checkpoint]}
    with ExitStack() as stack:
        labels = stack.enter_context(create_maps(label_maps, "label", **origin))
        confidence = stack.enter_context(create_maps(confidence_maps, "confidence", **origin))
        logits = logits_maps and stack.enter_context(create_maps(logits_maps, "logits", **origin))
        features = features_maps and stack.enter_context(create_maps(features_maps, "features", **origin))
        for image_id in progress(shard(every, scatteritem), f"teacher {scatteritem}"):
            image = read_image(records[image_id].image, short_side)
            if logits or features:
                of_logits, of_features = model(network_input(image, mean, std).to(device))
            if plain and (logits or features):
                probabilities = of_logits.softmax(dim=1)[0]  # what class_probabilities gives, by the same pass
            else:
                probabilities = class_probabilities(model, image, scales, flip, device)
            highest, classes = probabilities.max(dim=0)
            labels.write(image_id, classes.byte().cpu().numpy())
            confidence.write(image_id, (255 * highest).round().byte().cpu().numpy())
            if logits:
                logits.write(image_id, _cells(of_logits, image.shape[:2], logits_stride))
            if features:
                features.write(image_id, _cells(of_features, image.shape[:2], features_stride))


def _cells(maps, size, stride):
    """Means over cells of `stride` pixels, float16 [C, h, w]."""
    cells = [-(-length // stride) for length in size]
    return F.adaptive_avg_pool2d(maps, cells)[0].half().cpu().numpy()


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

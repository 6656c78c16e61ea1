"""Predict class probabilities, averaged over several scales and the mirrored image.

In: index, id list, segmentation network.
Out: class probabilities, and their argmax, which shows what the CRF adds.
Source: the test of MARS's student as `infer_seg.py` of shjo-april/RecurSeed_and_EdgePredictMix does it.
"""

import torch

from maskmill.data.images import read_image
from maskmill.data.index import read_ids, read_index, shard
from maskmill.networks.device import inference_device
from maskmill.networks.segmentation import class_probabilities, load_segmentation
from maskmill.progress import progress
from maskmill.storage.maps import create_maps
from maskmill.workflow import stage


@torch.inference_mode()
def main(
    index: str,
    ids: str,
    checkpoint: str,
    maps: str,
    labels: str,
    scales: list[float],
    flip: bool,
    keep: float,
    scatteritem: str = "1-of-1",
    short_side: int | None = None,
) -> None:
    """Predict the images of one part.

    Args:
        checkpoint: safetensors file of a trained segmentation network.
        maps: map store to write: probabilities float16 [k, H, W] at the working size; attribute `classes` holds the
            mask ids of the planes.
        labels: map store to write: labels uint8 [H, W] at the working size.
        flip: whether the mirrored image is averaged in.
        keep: probability in 0..1; a class whose probability stays below it everywhere is dropped.
    """
    records, device = read_index(index), inference_device()
    model = load_segmentation(checkpoint).to(device)
    parameters = {"scales": scales, "flip": flip, "keep": keep}
    origin = {"producer": "predict", "parameters": parameters, "inputs": [checkpoint]}
    with create_maps(maps, "probability", **origin) as store, create_maps(labels, "label", **origin) as argmax:
        for image_id in progress(shard(read_ids(ids), scatteritem), f"predict {scatteritem}"):
            image = read_image(records[image_id].image, short_side)
            probabilities = class_probabilities(model, image, scales, flip, device)
            peaks = probabilities.flatten(1).amax(dim=1)
            classes = [0, *(c for c in range(1, len(peaks)) if peaks[c] >= keep)]
            store.write(image_id, probabilities[classes].half().cpu().numpy(), classes=classes)
            argmax.write(image_id, probabilities.argmax(dim=0).byte().cpu().numpy())


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

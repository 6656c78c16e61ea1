"""Store the labels and the confidence of CW-BASS's teacher for one shard's images, for a student to read.

In: index, id list, a segmentation network. Out: two map stores at working size: labels, uint8 [H, W], and confidence,
uint8 [H, W], round(255 c).
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
    label_maps: str,
    confidence_maps: str,
    scales: list[float] = (1.0,),
    flip: bool = False,
    scatteritem: str = "1-of-1",
    short_side: int | None = None,
) -> None:
    """Label one shard's images.

    Args:
        checkpoint: safetensors file of the teacher.
        label_maps, confidence_maps: map stores to write.
        scales: scales of the image that probabilities are averaged over.
        flip: whether they are averaged over the mirrored image too.
        scatteritem: shard of the images, as `2-of-8`.
    """
    records, device = read_index(index), inference_device()
    model = load_segmentation(checkpoint).to(device)
    parameters = {"short_side": short_side, "scales": list(scales), "flip": flip}
    origin = {"producer": "cache_labels", "parameters": parameters, "inputs": [checkpoint]}
    with (
        create_maps(label_maps, "label", **origin) as labels,
        create_maps(confidence_maps, "confidence", **origin) as confidence,
    ):
        for image_id in progress(shard(read_ids(ids), scatteritem), f"teacher {scatteritem}"):
            image = read_image(records[image_id].image, short_side)
            highest, classes = class_probabilities(model, image, scales, flip, device).max(dim=0)
            labels.write(image_id, classes.byte().cpu().numpy())
            confidence.write(image_id, (255 * highest).round().byte().cpu().numpy())


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

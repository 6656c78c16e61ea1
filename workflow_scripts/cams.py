"""Class activation maps of one shard's images, at several scales and mirrored (spec 2.2).

In: classifier, index, id list. Out: map store of kind `cam`: per image float16 [k, ceil(H/4), ceil(W/4)] in 0..1, one
plane for each tag, each divided by its own maximum; attribute `classes` names the planes.
"""

import torch

import stage
from maskmill.data.images import read_image
from maskmill.data.index import read_ids, read_index, shard
from maskmill.data.transforms import network_input, scaled
from maskmill.methods.cam import merge_scales
from maskmill.networks.classifier import Classifier
from maskmill.networks.device import inference_device
from maskmill.progress import progress
from maskmill.storage.checkpoints import load_network
from maskmill.storage.maps import create_maps


@torch.inference_mode()
def main(
    index: str,
    ids: str,
    checkpoint: str,
    maps: str,
    scales: list[float],
    scatteritem: str = "1-of-1",
    short_side: int | None = None,
) -> None:
    records = read_index(index)
    device = inference_device()
    classifier = load_network(checkpoint, Classifier).to(device)
    backbone = classifier.backbone
    parameters = {"scales": scales, "short_side": short_side}
    with create_maps(maps, "cam", producer="cams", parameters=parameters, inputs=[checkpoint]) as store:
        for image_id in progress(shard(read_ids(ids), scatteritem), f"cams {scatteritem}"):
            image = read_image(records[image_id].image, short_side)
            size = image.shape[:2]
            activations = [
                classifier.cam(network_input(image, backbone.mean, backbone.std, scaled(size, s)).to(device))
                for s in scales
            ]
            classes = records[image_id].classes
            store.write(image_id, merge_scales(activations, size, classes).half().cpu().numpy(), classes=classes)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

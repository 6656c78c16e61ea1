"""Compute score maps, before the softmax.

In: index, id list, DeepLabV2.
Out: score maps at the network's stride.
Source: DeepLab v2 (Chen et al., TPAMI 2017).
"""

import torch

from maskmill.data.images import read_image
from maskmill.data.index import read_ids, read_index, shard
from maskmill.data.transforms import network_input
from maskmill.networks.deeplab_v2 import DeepLabV2
from maskmill.networks.device import inference_device
from maskmill.progress import progress
from maskmill.storage.checkpoints import load_network
from maskmill.storage.maps import create_maps
from maskmill.workflow import stage


@torch.inference_mode()
def main(
    index: str,
    ids: str,
    checkpoint: str,
    maps: str,
    scatteritem: str = "1-of-1",
    short_side: int | None = None,
) -> None:
    """Compute the score maps of the images of one part.

    Args:
        checkpoint: safetensors file of a trained `DeepLabV2`.
        maps: map store to write: per image float16 [C, h, w].
    """
    records, device = read_index(index), inference_device()
    model = load_network(checkpoint, DeepLabV2).to(device)
    mean, std = model.backbone.mean, model.backbone.std
    with create_maps(maps, "logits", producer="predict_logits", inputs=[checkpoint]) as store:
        for image_id in progress(shard(read_ids(ids), scatteritem), f"logits {scatteritem}"):
            image = read_image(records[image_id].image, short_side)
            scores = model(network_input(image, mean, std).to(device))[-1]
            store.write(image_id, scores[0].half().cpu().numpy())


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

"""Class probabilities of one shard's images: several scales and mirrored, averaged (spec 3.5).

In: index, id list, a segmentation network. Out: map store of kind `probability`: float16 [k, H, W] at working size, of
background and every class that exceeds `keep` somewhere; attribute `classes` names the planes. And their argmax as a
map store of kind `label`, to tell what the CRF adds.
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

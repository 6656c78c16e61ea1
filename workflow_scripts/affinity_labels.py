"""Labels that IRNet learns from: confident foreground, confident background, or 255 (spec 2.4).

In: index, id list, map store of kind `cam`. Out: map store of kind `label`, uint8 [H, W] at working size.
"""

import numpy as np

import stage
from maskmill.data.images import read_image
from maskmill.data.index import read_ids, read_index, shard
from maskmill.methods.irn import affinity_labels
from maskmill.progress import progress
from maskmill.refinement.dense_crf import dense_crf, label_unary
from maskmill.refinement.resize import resize_planes
from maskmill.storage.maps import create_maps, open_maps


def main(
    index: str,
    ids: str,
    cams: str,
    maps: str,
    foreground: float,
    background: float,
    gt_prob: float,
    crf: dict,
    scatteritem: str = "1-of-1",
    short_side: int | None = None,
) -> None:
    records, seeds = read_index(index), open_maps(cams)
    parameters = {"foreground": foreground, "background": background, "crf": crf}
    with create_maps(maps, "label", producer="affinity_labels", parameters=parameters, inputs=[cams]) as store:
        for image_id in progress(shard(read_ids(ids), scatteritem), f"affinity labels {scatteritem}"):
            image = read_image(records[image_id].image, short_side)
            cam = resize_planes(seeds[image_id].astype(np.float32), image.shape[:2])
            classes = np.array([0, *seeds.attributes_of(image_id)["classes"]], np.uint8)

            def confident(threshold, image=image, cam=cam, classes=classes):
                planes = np.concatenate([np.full_like(cam[:1], threshold), cam]) if len(cam) else cam
                labels = planes.argmax(axis=0) if len(cam) else np.zeros(image.shape[:2], int)
                unary = label_unary(labels, len(classes), gt_prob)
                return classes[dense_crf(image, unary, **crf).argmax(axis=0)]

            store.write(image_id, affinity_labels(confident(foreground), confident(background)))


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

"""Label the pixels that IRNet learns from: confident foreground, confident background, or uncertain.

In: index, id list, class activation maps.
Out: labels; 255 marks uncertain pixels.
Source: `step/cam_to_ir_label.py` of jiwoon-ahn/irn.
"""

from functools import partial

import numpy as np

from maskmill.data.images import read_image
from maskmill.data.index import Record, read_ids, read_index, shard
from maskmill.methods.irn import affinity_labels
from maskmill.processes import in_processes
from maskmill.refinement.dense_crf import dense_crf, label_unary
from maskmill.refinement.resize import resize_planes
from maskmill.storage.maps import Maps, create_maps, open_maps
from maskmill.workflow import stage


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
    threads: int = 1,
) -> None:
    """Label the images of one part.

    Args:
        maps: map store to write: labels uint8 [H, W] at the working size, 255 = uncertain.
        foreground: activation in 0..1 above which a pixel is confident foreground.
        background: activation in 0..1 below which a pixel is confident background.
        gt_prob: probability in (0, 1), for the CRF, that a thresholded label is right.
    """
    records, image_ids = read_index(index), shard(read_ids(ids), scatteritem)
    parameters = {"foreground": foreground, "background": background, "gt_prob": gt_prob, "crf": crf}
    label = partial(label_of, seeds=open_maps(cams), short_side=short_side, **parameters)
    with create_maps(maps, "label", producer="affinity_labels", parameters=parameters, inputs=[cams]) as store:
        labels = in_processes(label, [records[i] for i in image_ids], threads, f"affinity labels {scatteritem}")
        for image_id, image_labels in zip(image_ids, labels, strict=True):
            store.write(image_id, image_labels)


def label_of(
    record: Record,
    seeds: Maps,
    foreground: float,
    background: float,
    gt_prob: float,
    crf: dict,
    short_side: int | None,
) -> np.ndarray:
    image = read_image(record.image, short_side)
    cam = resize_planes(seeds[record.image_id].astype(np.float32), image.shape[:2])
    classes = np.array([0, *seeds.attributes_of(record.image_id)["classes"]], np.uint8)

    def confident(threshold: float) -> np.ndarray:
        labels = np.concatenate([np.full((1, *image.shape[:2]), threshold, np.float32), cam]).argmax(axis=0)
        return classes[dense_crf(image, label_unary(labels, len(classes), gt_prob), **crf).argmax(axis=0)]

    return affinity_labels(confident(foreground), confident(background))


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

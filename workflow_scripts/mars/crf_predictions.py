"""Turn class probabilities into labels with the dense CRF.

In: index, id list, class probabilities.
Out: labels.
Source: the test of MARS's student as `infer_seg.py` of shjo-april/RecurSeed_and_EdgePredictMix does it.
"""

from functools import partial

import numpy as np

from maskmill.data.images import read_image
from maskmill.data.index import Record, read_ids, read_index, shard
from maskmill.processes import in_processes
from maskmill.refinement.dense_crf import dense_crf, probability_unary
from maskmill.storage.maps import Maps, create_maps, open_maps
from maskmill.workflow import stage


def main(
    index: str,
    ids: str,
    probabilities: str,
    maps: str,
    crf: dict,
    scatteritem: str = "1-of-1",
    short_side: int | None = None,
    threads: int = 1,
) -> None:
    """Label the images of one part.

    Args:
        probabilities: map store of class probabilities, as `predict.py` writes it.
        maps: map store to write: labels uint8 [H, W] at the working size.
    """
    records, image_ids = read_index(index), shard(read_ids(ids), scatteritem)
    label = partial(label_of, predicted=open_maps(probabilities), crf=crf, short_side=short_side)
    with create_maps(maps, "label", producer="crf_predictions", parameters=crf, inputs=[probabilities]) as store:
        labels = in_processes(label, [records[i] for i in image_ids], threads, f"crf {scatteritem}")
        for image_id, image_labels in zip(image_ids, labels, strict=True):
            store.write(image_id, image_labels)


def label_of(record: Record, predicted: Maps, crf: dict, short_side: int | None) -> np.ndarray:
    image = read_image(record.image, short_side)
    marginals = dense_crf(image, probability_unary(predicted[record.image_id]), **crf)
    return predicted.attributes_of(record.image_id)["classes"].astype(np.uint8)[marginals.argmax(axis=0)]


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

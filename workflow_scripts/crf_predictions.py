"""Labels from class probabilities by the dense CRF (spec 2.7).

In: index, id list, map store of kind `probability`. Out: map store of kind `label`, uint8 [H, W] at working size.
"""

import numpy as np

import stage
from maskmill.data.images import read_image
from maskmill.data.index import read_ids, read_index, shard
from maskmill.progress import progress
from maskmill.refinement.dense_crf import dense_crf, probability_unary
from maskmill.storage.maps import create_maps, open_maps


def main(
    index: str,
    ids: str,
    probabilities: str,
    maps: str,
    crf: dict,
    scatteritem: str = "1-of-1",
    short_side: int | None = None,
) -> None:
    records, predicted = read_index(index), open_maps(probabilities)
    with create_maps(maps, "label", producer="crf_predictions", parameters=crf, inputs=[probabilities]) as store:
        for image_id in progress(shard(read_ids(ids), scatteritem), f"crf {scatteritem}"):
            image = read_image(records[image_id].image, short_side)
            marginals = dense_crf(image, probability_unary(predicted[image_id]), **crf)
            classes = predicted.attributes_of(image_id)["classes"].astype(np.uint8)
            store.write(image_id, classes[marginals.argmax(axis=0)])


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

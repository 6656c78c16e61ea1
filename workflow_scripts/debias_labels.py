"""Mark biased objects in the pseudo labels of one shard (MARS, Eq. 4-5).

In: index, id list, features, biased labels, debiased centroids. Out: map store of kind `label`, uint8 [H, W]: as the
biased labels, with 254 where foreground was found to be biased.
"""

import numpy as np

import stage
from maskmill.data.images import read_image
from maskmill.data.index import read_ids, read_index, shard
from maskmill.methods.mars import debias, likelihood_probabilities, object_likelihood
from maskmill.progress import progress
from maskmill.refinement.dense_crf import dense_crf, probability_unary
from maskmill.refinement.resize import resize_planes
from maskmill.storage.maps import create_maps, open_maps
from maskmill.storage.tables import read_tables


def main(
    index: str,
    ids: str,
    features: str,
    labels: str,
    debiased: str,
    maps: str,
    refine: str,
    background: str,
    gamma: float,
    rescale: str,
    crf: dict,
    scatteritem: str = "1-of-1",
    short_side: int | None = None,
) -> None:
    records, embeddings, biased = read_index(index), open_maps(features), open_maps(labels)
    centroids = read_tables([debiased])["debiased"]
    parameters = {"refine": refine, "background": background, "rescale": rescale}
    with create_maps(maps, "label", producer="debias_labels", parameters=parameters, inputs=[debiased]) as store:
        for image_id in progress(shard(read_ids(ids), scatteritem), f"debias {scatteritem}"):
            image = read_image(records[image_id].image, short_side)
            likelihood = object_likelihood(embeddings[image_id], centroids, list(records[image_id].classes))
            likelihood = resize_planes(likelihood[None].astype(np.float32), image.shape[:2])[0]
            planes = likelihood_probabilities(likelihood, background=background, gamma=gamma, rescale=rescale)
            if refine == "crf":
                planes = dense_crf(image, probability_unary(planes), **crf)
            store.write(image_id, debias(biased[image_id], planes[1] > planes[0]))


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

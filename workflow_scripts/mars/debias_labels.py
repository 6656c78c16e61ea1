"""Mark biased objects in the pseudo labels of one shard (MARS, Eq. 4-5).

In: index, id list, features, biased labels, debiased centroids. Out: map store of kind `label`, uint8 [H, W]: as the
biased labels, with 254 where foreground was found to be biased.
"""

from functools import partial

import numpy as np

from maskmill.data.images import read_image
from maskmill.data.index import Record, read_ids, read_index, shard
from maskmill.methods.mars import debias, likelihood_probabilities, object_likelihood
from maskmill.processes import in_processes
from maskmill.refinement.dense_crf import dense_crf, probability_unary
from maskmill.refinement.resize import resize_planes
from maskmill.storage.maps import Maps, create_maps, open_maps
from maskmill.storage.tables import read_tables
from maskmill.workflow import stage


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
    threads: int = 1,
) -> None:
    records, chosen, biased = read_index(index), shard(read_ids(ids), scatteritem), open_maps(labels)
    parameters = {"refine": refine, "background": background, "gamma": gamma, "rescale": rescale}
    centroids = read_tables([debiased])["debiased"]
    mask = partial(
        object_mask, embeddings=open_maps(features), centroids=centroids, crf=crf, short_side=short_side, **parameters
    )
    with create_maps(maps, "label", producer="debias_labels", parameters=parameters, inputs=[debiased]) as store:
        masks = in_processes(mask, [records[i] for i in chosen], threads, f"debias {scatteritem}")
        for image_id, on_object in zip(chosen, masks, strict=True):
            store.write(image_id, debias(biased[image_id], on_object))


def object_mask(
    record: Record,
    embeddings: Maps,
    centroids: np.ndarray,
    refine: str,
    background: str,
    gamma: float,
    rescale: str,
    crf: dict,
    short_side: int | None,
) -> np.ndarray:
    """M of Eq. 5: bool [H, W]."""
    image = read_image(record.image, short_side)
    likelihood = object_likelihood(embeddings[record.image_id], centroids, list(record.classes))
    likelihood = resize_planes(likelihood[None].astype(np.float32), image.shape[:2])[0]
    planes = likelihood_probabilities(likelihood, background=background, gamma=gamma, rescale=rescale)
    if refine == "crf":
        planes = dense_crf(image, probability_unary(planes), **crf)
    return planes[1] > planes[0]


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

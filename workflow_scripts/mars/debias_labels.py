"""Mark biased objects in pseudo labels.

In: index, id list, unsupervised features, pseudo labels, debiased centroids.
Out: pseudo labels in which 254 marks foreground that is biased.
Source: MARS, Eq. 4-5.
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
    """Mark biased pixels in the labels of one part.

    Args:
        features: map store of unsupervised features: per image float16 [D, h, w].
        labels: map store of pseudo labels.
        debiased: HDF5 table of debiased centroids, as `debiased_centroids.py` writes it.
        maps: map store to write: labels uint8 [H, W] at the working size, 254 = biased.
        refine: how the object likelihood becomes a mask: crf, or none (threshold 0.5).
        background: probability of the background in the CRF: complement (1 - M) or power ((1 - M)^gamma).
        gamma: exponent of `background: power`.
        rescale: none, or max: divide the likelihood by its maximum in the image.
    """
    records, image_ids, biased = read_index(index), shard(read_ids(ids), scatteritem), open_maps(labels)
    parameters = {"refine": refine, "background": background, "gamma": gamma, "rescale": rescale}
    centroids = read_tables([debiased])["debiased"]
    mask = partial(
        object_mask, embeddings=open_maps(features), centroids=centroids, crf=crf, short_side=short_side, **parameters
    )
    with create_maps(maps, "label", producer="debias_labels", parameters=parameters, inputs=[debiased]) as store:
        masks = in_processes(mask, [records[i] for i in image_ids], threads, f"debias {scatteritem}")
        for image_id, on_object in zip(image_ids, masks, strict=True):
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
    """M of MARS, Eq. 5: bool [H, W], true on objects."""
    image = read_image(record.image, short_side)
    likelihood = object_likelihood(embeddings[record.image_id], centroids, list(record.classes))
    likelihood = resize_planes(likelihood[None].astype(np.float32), image.shape[:2])[0]
    planes = likelihood_probabilities(likelihood, background=background, gamma=gamma, rescale=rescale)
    if refine == "crf":
        planes = dense_crf(image, probability_unary(planes), **crf)
    return planes[1] > planes[0]


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

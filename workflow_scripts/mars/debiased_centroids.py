"""Compute the debiased centroid of every class from the centroids of all images.

In: index, centroids of the images.
Out: debiased centroids, and which centroids they are means of.
Source: MARS, Eq. 1-3.
"""

import logging

from maskmill.data.catalog import find_dataset
from maskmill.errors import InputError
from maskmill.methods.mars import background_distance, debiased_centroids, mean_background
from maskmill.storage.tables import read_tables, write_table
from maskmill.workflow import stage

logger = logging.getLogger(__name__)


def main(dataset: str, index: str, shards: list[str], debiased: str, alpha: float, normalise_centroids: bool) -> None:
    """Compute the centroids of all classes.

    Args:
        shards: HDF5 tables of centroids, as `image_centroids.py` writes them.
        debiased: HDF5 table to write: `debiased` float64 [C+1, D] by mask id, NaN where a class has none; and for every
            image centroid `classes`, `images`, `counts`, `distances` (Eq. 1) and `selected`.
        alpha: share in (0, 1] of a class's centroids that is kept, the farthest from the background first.
        normalise_centroids: whether centroids are scaled to unit length before their mean is taken; Eq. 2 as printed:
            false.
    """
    table = read_tables(shards)
    centroids, classes = table.pop("centroids"), table["classes"]
    if not (classes == 0).any():
        raise InputError(
            f"{shards[0]}: no image has background in its pseudo label, which MARS tells objects by; add images that "
            "show none of the classes, or look at the masks in mars.external"
        )
    if not classes.any():
        logger.warning(
            "warning: %s: no image has an object in its pseudo label, so MARS removes nothing; look at the tags, or "
            "at the masks in mars.external, whose objects have the ids 1, 2, ...",
            shards[0],
        )
    distances = background_distance(centroids, mean_background(centroids[classes == 0]))
    vectors, selected = debiased_centroids(
        centroids,
        classes,
        distances,
        num_classes=find_dataset(dataset, index).num_classes,
        alpha=alpha,
        normalise_centroids=normalise_centroids,
    )
    write_table(debiased, {"debiased": vectors, **table, "distances": distances, "selected": selected})


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

"""Debiased centroids of every class (MARS, Eq. 1-3).

In: index, the shards of image centroids. Out: HDF5 with `debiased` float64 [C+1, D] (by mask id, NaN where there is
none), and for every image centroid its row of the shards joined: `classes`, `images`, `counts`, `distances` (Eq. 1),
`selected`.
"""

from maskmill.data.catalog import find_dataset
from maskmill.errors import InputError
from maskmill.methods.mars import background_distance, debiased_centroids, mean_background
from maskmill.storage.tables import read_tables, write_table
from maskmill.workflow import stage


def main(dataset: str, index: str, shards: list[str], debiased: str, alpha: float, normalise_centroids: bool) -> None:
    table = read_tables(shards)
    centroids, classes = table.pop("centroids"), table["classes"]
    if not (classes == 0).any():
        raise InputError(f"{shards[0]}: no image has background in its pseudo label; look at the provider's masks")
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

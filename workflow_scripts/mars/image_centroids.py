"""Cluster the features of every class in every image.

In: id list, unsupervised features, pseudo labels.
Out: centroids.
Source: MARS, Sec. 3.2.
"""

import numpy as np

from maskmill.data.index import read_ids, shard
from maskmill.methods.mars import image_centroids
from maskmill.progress import progress
from maskmill.storage.maps import open_maps
from maskmill.storage.tables import write_table
from maskmill.workflow import stage


def main(
    ids: str,
    features: str,
    labels: str,
    centroids: str,
    k_foreground: int,
    k_background: int,
    samples: str,
    kmeans: str,
    few_samples: str,
    seed: int = 0,
    scatteritem: str = "1-of-1",
) -> None:
    """Cluster the features of the images of one part.

    Args:
        features: map store of unsupervised features: per image float16 [D, h, w].
        labels: map store of pseudo labels: per image uint8 [H, W].
        centroids: HDF5 table to write, one row per centroid: `centroids` float32 [n, D], `classes` uint8 [n], `counts`
            int64 [n], `images` (ids) [n].
        k_foreground: centroids per class and image.
        k_background: centroids of the background per image.
        samples: what is clustered: patches (of the features' grid) or pixels (features upsampled to the image).
        kmeans: spherical (vectors of unit length) or euclidean (vectors as they are).
        few_samples: regions with fewer vectors than centroids: repeat the vectors, or skip the region.
        seed: seed of k-means++, the same for all images.
    """
    embeddings, biased = open_maps(features), open_maps(labels)
    dimension = len(next(iter(embeddings.values())))
    columns = {  # with types, since a part may have no images
        "centroids": [np.empty((0, dimension), np.float32)],
        "classes": [np.empty(0, np.uint8)],
        "counts": [np.empty(0, np.int64)],
        "images": [np.empty(0, str)],
    }
    for image_id in progress(shard(read_ids(ids), scatteritem), f"centroids {scatteritem}"):
        vectors, classes, counts = image_centroids(
            embeddings[image_id],
            biased[image_id],
            k_foreground=k_foreground,
            k_background=k_background,
            samples=samples,
            kmeans=kmeans,
            few_samples=few_samples,
            seed=seed,
        )
        for name, values in zip(columns, (vectors, classes, counts, [image_id] * len(classes)), strict=True):
            columns[name].append(values)
    write_table(centroids, {name: np.concatenate(values) for name, values in columns.items()})


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

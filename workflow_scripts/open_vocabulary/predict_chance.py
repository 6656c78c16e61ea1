"""Draw labels at random, the lowest bar of the open-vocabulary tables.

In: index, id list.
Out: labels. They depend on the image's id and the seed alone.
"""

import zlib

import numpy as np

from maskmill.data.index import read_ids, read_index, shard
from maskmill.storage.maps import create_maps
from maskmill.workflow import stage


def main(
    index: str,
    ids: str,
    maps: str,
    foreground: str,
    class_ids: list[int],
    background: bool,
    seed: int = 0,
    scatteritem: str = "1-of-1",
) -> None:
    """Draw the labels of the images of one part.

    Args:
        maps: map store to write: labels uint8 [H, W] at the image's size, drawn from all classes.
        foreground: map store to write: the same, drawn from all classes but the background.
        class_ids: mask ids of the classes, without the background.
        background: whether the data set has a background.
    """
    records, origin = read_index(index), {"producer": "predict_chance", "parameters": {"seed": seed}, "inputs": []}
    classes_of_store = {maps: [*([0] if background else []), *class_ids], foreground: class_ids}
    for path, numbers in classes_of_store.items():
        with create_maps(path, "label", **origin) as store:
            for image_id in shard(read_ids(ids), scatteritem):
                rng = np.random.default_rng([seed, zlib.crc32(image_id.encode())])
                size = records[image_id].height, records[image_id].width
                store.write(image_id, rng.choice(np.array(numbers, np.uint8), size))


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

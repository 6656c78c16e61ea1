"""Labels drawn at random for one shard's images: the lowest bar of open-vocabulary tables.

In: index, id list. Out: two map stores of kind `label`: `maps`, drawn from all classes, and `foreground`, drawn without
the background. An image's labels depend on its id and the seed alone.
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
    records, origin = read_index(index), {"producer": "predict_chance", "parameters": {"seed": seed}, "inputs": []}
    drawn_from = {maps: [*([0] if background else []), *class_ids], foreground: class_ids}
    for path, numbers in drawn_from.items():
        with create_maps(path, "label", **origin) as store:
            for image_id in shard(read_ids(ids), scatteritem):
                rng = np.random.default_rng([seed, zlib.crc32(image_id.encode())])
                size = records[image_id].height, records[image_id].width
                store.write(image_id, rng.choice(np.array(numbers, np.uint8), size))


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

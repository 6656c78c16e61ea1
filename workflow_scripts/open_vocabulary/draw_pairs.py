"""Draw scenes with their captions as a shard of image-text pairs (scale `sample`): others than those of VOC's layout.

Out: `shard`, a webdataset tar file, and its index beside it. Params: `scenes`, how many in all shards; their size in
pixels and seed.
"""

import tempfile
from pathlib import Path

from PIL import Image

from maskmill.data.index import shard as part_of
from maskmill.data.sample_scenes import PAIRS_OFFSET, draw_scene
from maskmill.data.shards import Pair, write_indexed_shard
from maskmill.progress import progress
from maskmill.workflow import stage


def main(shard: str, scenes: int, size: int, seed: int, scatteritem: str = "1-of-1") -> None:
    numbers = part_of([str(PAIRS_OFFSET + n) for n in range(1, scenes + 1)], scatteritem)
    with tempfile.TemporaryDirectory() as folder:
        pairs = []
        for number in progress(numbers, f"draw {scatteritem}", unit="scene"):
            scene, path = draw_scene(int(number), size, seed), Path(folder, f"{number}.jpg")
            Image.fromarray(scene.image).save(path, quality=95, subsampling=0)
            pairs.append(Pair(number, path, scene.caption))
        write_indexed_shard(shard, pairs, captioned=True)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

"""Draw scenes with captions as a shard of image-text pairs, for scale `sample`.

The scenes are different from those that `draw_scenes.py` draws.

In: nothing but the number of scenes.
Out: a shard and its index.
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
    """Draw the scenes of one part.

    Args:
        shard: webdataset tar file to write; its index is written beside it.
        scenes: number of scenes in all shards.
        size: pixels; side of a scene.
        scatteritem: part of the scenes to draw: 3-of-8 is the third of eight parts.
    """
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

"""Draw the sample scenes (data of scale `sample`).

Out: a folder in VOC's layout (see `maskmill.data.sample_scenes`), with the empty flag file `complete` in it.
Params: `scenes`, the numbers of scenes (train_aug, train, val), their size in pixels and the seed.
"""

import shutil
from pathlib import Path

import stage
from maskmill.data.sample_scenes import draw_scenes


def main(complete: str, scenes: dict) -> None:
    root = Path(complete).parent
    shutil.rmtree(root, ignore_errors=True)  # what a killed run left half drawn
    draw_scenes(root, **scenes)
    Path(complete).touch()


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

"""Draw the sample scenes with one object each, as a localisation set (data of scale `sample`).

Out: a folder in the layout of `boxset` (see `maskmill.data.sample_localization`), with the empty flag file `complete`
in it. Params: `scenes`, the numbers of scenes (train, heldout, val), their size in pixels and the seed.
"""

import shutil
from pathlib import Path

from maskmill.data.sample_localization import draw_localization_scenes
from maskmill.workflow import stage


def main(complete: str, scenes: dict, boxset: str = "cub") -> None:
    root = Path(complete).parent
    shutil.rmtree(root, ignore_errors=True)  # what a killed run left half drawn
    draw_localization_scenes(root, boxset, **scenes)
    Path(complete).touch()


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

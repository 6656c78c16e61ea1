"""Draw the sample scenes with one object each as a localisation set, for scale `sample`.

In: nothing but the numbers of scenes.
Out: a folder in the layout of the localisation set; see `maskmill.data.sample_localization`.
"""

import shutil
from pathlib import Path

from maskmill.data.sample_localization import draw_localization_scenes
from maskmill.workflow import stage


def main(complete: str, scenes: dict, boxset: str = "cub") -> None:
    """Draw the scenes.

    Args:
        scenes: numbers of scenes (train, heldout, val), their size in pixels, and the seed.
    """
    root = Path(complete).parent
    shutil.rmtree(root, ignore_errors=True)  # what a killed run left half drawn
    draw_localization_scenes(root, boxset, **scenes)
    Path(complete).touch()


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

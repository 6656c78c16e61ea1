"""Draw the sample scenes, the data of scale `sample`.

In: nothing but the numbers of scenes.
Out: a folder in the layout of the data set; see `maskmill.data.sample_scenes`.
"""

import shutil
from pathlib import Path

from maskmill.data.catalog import DATASETS
from maskmill.data.sample_scenes import draw_scenes, draw_stand_ins
from maskmill.workflow import stage


def main(complete: str, scenes: dict, dataset: str = "voc") -> None:
    """Draw the scenes.

    Args:
        scenes: numbers of scenes (train_aug, train, val), their size in pixels, and the seed. Data sets other than VOC
            have no train_aug; their train has as many scenes as train_aug.
    """
    root = Path(complete).parent
    shutil.rmtree(root, ignore_errors=True)  # what a killed run left half drawn
    if dataset == "voc":
        draw_scenes(root, **scenes)
    else:
        numbers = {"train": scenes["train_aug"], "val": scenes["val"]}
        draw_stand_ins(root, DATASETS[dataset], **numbers, size=scenes["size"], seed=scenes["seed"])
    Path(complete).touch()


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

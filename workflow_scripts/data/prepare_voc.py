"""Unpack VOC 2012 and SBD into one folder in the devkit's layout, with train_aug and SegmentationClassAug.

In: the archives `voc2012` and `sbd`.
Out: `complete`, the empty flag file in that folder.
"""

from pathlib import Path

from maskmill.data.voc import prepare
from maskmill.workflow import stage


def main(voc2012: str, sbd: str, complete: str, threads: int = 1) -> None:
    prepare(voc2012, sbd, Path(complete).parent, threads=threads)
    Path(complete).touch()


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

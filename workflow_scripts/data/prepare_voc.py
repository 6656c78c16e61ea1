"""Unpack VOC 2012 and SBD into one folder in the devkit's layout, with the list train_aug and the masks of both.

In: the two archives.
Out: the folder; see `maskmill.data.voc.prepare`.
"""

from pathlib import Path

from maskmill.data.voc import prepare
from maskmill.workflow import stage


def main(voc2012: str, sbd: str, complete: str, threads: int = 1) -> None:
    """Unpack both archives.

    Args:
        voc2012: archive of VOC 2012, as published.
        sbd: archive of SBD, as published.
    """
    prepare(voc2012, sbd, Path(complete).parent, threads=threads)
    Path(complete).touch()


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

"""Rewrite a copy of CamVid, of either release, as masks of class ids in VOC's layout.

In: the original release, with coloured masks, or SegNet's release, with ids.
Out: a folder in VOC's layout; see `maskmill.data.camvid.convert`.
"""

from pathlib import Path

from maskmill.data.camvid import convert
from maskmill.workflow import stage


def main(root: str, complete: str, threads: int = 1) -> None:
    """Convert the copy.

    Args:
        root: folder of your copy.
    """
    convert(root, Path(complete).parent, threads=threads)
    Path(complete).touch()


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

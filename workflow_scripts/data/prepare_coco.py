"""Draw the instances of a copy of MS COCO 2014 as masks of class ids in VOC's layout.

In: `root`, the user's folder. Out: a folder as `maskmill.data.coco.convert` makes it, with the empty flag file
`complete` in it. Params: `overlap`, which of two instances is on top: smaller | file (the later one); `crowd`, what
crowd regions are: class | ignore.
"""

from pathlib import Path

from maskmill.data.coco import convert
from maskmill.workflow import stage


def main(root: str, complete: str, overlap: str, crowd: str, threads: int = 1) -> None:
    convert(root, Path(complete).parent, overlap=overlap, crowd=crowd, threads=threads)
    Path(complete).touch()


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

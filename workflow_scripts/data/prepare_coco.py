"""Draw the instances of a copy of MS COCO 2014 as masks of class ids in VOC's layout.

In: images and annotations of MS COCO 2014.
Out: a folder in VOC's layout; see `maskmill.data.coco.convert`.
"""

from pathlib import Path

from maskmill.data.coco import convert
from maskmill.workflow import stage


def main(root: str, complete: str, overlap: str, crowd: str, threads: int = 1) -> None:
    """Convert the copy.

    Args:
        root: folder of your copy, with train2014, val2014 and annotations.
        overlap: which of two instances is on top: smaller (the smaller one) or file (the later one in the file).
        crowd: what crowd regions are: class (their class) or ignore (255).
    """
    convert(root, Path(complete).parent, overlap=overlap, crowd=crowd, threads=threads)
    Path(complete).touch()


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

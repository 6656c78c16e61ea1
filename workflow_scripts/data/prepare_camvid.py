"""Rewrite a copy of CamVid, of either release, as class ids in VOC's layout.

In: `root`, the user's folder. Out: a folder as `maskmill.data.camvid.convert` makes it, with the empty flag file
`complete` in it.
"""

from pathlib import Path

from maskmill.data.camvid import convert
from maskmill.workflow import stage


def main(root: str, complete: str, threads: int = 1) -> None:
    convert(root, Path(complete).parent, threads=threads)
    Path(complete).touch()


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

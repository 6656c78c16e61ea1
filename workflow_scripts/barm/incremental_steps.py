"""List which images and classes each step of a class-incremental task has.

In: the classes that each training image shows.
Out: the id list of each step, and a manifest.
Source: the protocols of class-incremental segmentation as ANDYZAQ/BARM has them; see `maskmill.data.incremental`.
"""

import json
from pathlib import Path

from maskmill.data.incremental import manifest, read_presence, step_images
from maskmill.data.voc import list_text
from maskmill.storage.atomic import write_text
from maskmill.workflow import stage


def main(presence: str, lists: list[str], manifest_file: str, steps: list[list[int]], scheme: str) -> None:
    """List the images of every step.

    Args:
        presence: text file of `class_presence.py`, one line per image.
        lists: text files to write, one per step, with one id per line.
        manifest_file: JSON to write: classes, number of images and SHA-256 of the list of each step.
        scheme: overlapped, or disjoint: steps have no image that shows a later class.
    """
    images = step_images(read_presence(presence), steps, scheme)
    for path, image_ids in zip(lists, images, strict=True):
        write_text(Path(path), list_text(image_ids))
    write_text(Path(manifest_file), json.dumps(manifest(steps, images, scheme), indent=2) + "\n")


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

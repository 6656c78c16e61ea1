"""Which images and classes each step of a class-incremental task has (spec BARM 1.1, 1.2).

In: the classes that each training image shows. Out: the id list of each step, and a manifest with classes, counts and
SHA-256 of each. Params: `steps`, class ids of each step; `scheme`, overlapped or disjoint.
"""

import json
from pathlib import Path

from maskmill.data.incremental import manifest, read_presence, step_images
from maskmill.data.voc import list_text
from maskmill.storage.atomic import write_text
from maskmill.workflow import stage


def main(presence: str, lists: list[str], manifest_file: str, steps: list[list[int]], scheme: str) -> None:
    images = step_images(read_presence(presence), steps, scheme)
    for path, chosen in zip(lists, images, strict=True):
        write_text(Path(path), list_text(chosen))
    write_text(Path(manifest_file), json.dumps(manifest(steps, images, scheme), indent=2) + "\n")


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

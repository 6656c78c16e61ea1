"""Index the folder of a localisation set: images with one class each and, in a file of their own, the boxes.

In: a folder in the layout that `maskmill.data.localization` describes for the localisation set.
Out: index, id lists, boxes, class list, manifest. Boxes are separate so that no training has them among its inputs.
"""

import json
from pathlib import Path

from maskmill.data.index import write_index
from maskmill.data.localization import (
    BOXSETS,
    build_index,
    manifest,
    read_cub,
    read_held_out,
    read_ilsvrc,
    write_boxes,
)
from maskmill.data.voc import list_text
from maskmill.storage.atomic import write_text
from maskmill.workflow import stage


def main(
    boxset: str,
    root: str | None,
    index: str,
    splits: list[str],
    boxes_table: str,
    classes: str,
    manifest_file: str,
    boxes: str | None = None,
    heldout: dict | None = None,
    threads: int = 1,
) -> None:
    """Index the folder.

    Args:
        root: folder of the localisation set.
        index: CSV to write, with one row per image; the mask is that of the object, grey, where there is one.
        splits: text files to write, one per split (train, heldout, val), with one id per line.
        boxes_table: CSV to write: image_id, x0, y0, x1, y1 in pixels of the file, as published.
        classes: text file to write, with one class name per line; class ids are the lines' numbers from 1.
        manifest_file: JSON to write: per split the counts, the SHA-256 of the list, and how it relates to the published
            list.
        boxes: folder of ILSVRC's XML files, or list of boxes; CUB's release has its own.
        heldout: folders `images` and `lists` of held-out images, in the format of the WSOL benchmark; null: none.
    """
    names, located = read_cub(root) if boxset == "cub" else read_ilsvrc(root, boxes)
    if heldout:
        located += read_held_out(heldout["images"], heldout["lists"], len(names))
    records = build_index(located, threads=threads)
    write_index(index, records)
    for path in splits:
        write_text(path, list_text(r.image_id for r in records if Path(path).stem in r.splits))
    write_boxes(boxes_table, located)
    write_text(classes, list_text(names))
    write_text(manifest_file, json.dumps(manifest(located, BOXSETS[boxset]), indent=2) + "\n")


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

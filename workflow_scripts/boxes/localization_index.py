"""Index a localisation set's root: images, sizes (pixels), one class an image; and, apart from it, the boxes.

Out: `index` (CSV, one row per image; `mask` is the object's, grey, where there is one), `splits` (id lists train,
heldout, val), `boxes_table` (CSV, x0 y0 x1 y1 in pixels, as published), `classes` (a class name a line; class ids are
the lines' numbers from 1), `manifest` (JSON: per split the counts, the list's SHA-256 and its relation to the
published one).
Params: `root`, a folder as `maskmill.data.localization` describes it for `boxset`; `boxes`, ILSVRC's XML folder or
list; `heldout`, the folders `images` and `lists` of a held-out set in the WSOL benchmark's format, or null for none.
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

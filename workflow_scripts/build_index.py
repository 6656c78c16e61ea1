"""Index a VOC root: which images, masks, sizes (pixels) and tags (mask ids) there are.

Out: `index` (CSV, one row per image); `splits` (id lists, named after their role: train, labelled_train,
val); `manifest` (JSON: per role the counts, the list's SHA-256 and its relation to the published list).
Params: `root`, a folder in the devkit's layout; `lists`, role to the name of the root's list that plays it.
"""

import json
from pathlib import Path

import stage
from maskmill.data import voc
from maskmill.data.index import write_index
from maskmill.storage.atomic import write_text


def main(root: str, lists: dict, index: str, splits: list[str], manifest: str, threads: int = 1) -> None:
    ids = {role: voc.read_list(root, name) for role, name in lists.items()}
    records = voc.build_index(root, ids, threads=threads)
    write_index(index, records)
    for path in splits:
        write_text(path, voc.list_text(ids[Path(path).stem]))
    write_text(manifest, json.dumps(voc.manifest(records, ids, lists), indent=2) + "\n")


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

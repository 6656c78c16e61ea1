"""Index a data set's root: which images, masks, sizes (pixels) and tags (mask ids) there are.

Out: `index` (CSV, one row per image); `splits` (id lists, named after their role: train, labelled_train,
val); `manifest` (JSON: per role the counts, the list's SHA-256 and its relation to the published list).
Params: `root`, a folder as `maskmill.data.catalog` describes it for `dataset`; `lists`, role to the name of the root's
list (Cityscapes: folder) that plays it; `subset`, whether cities of Cityscapes may be missing.
"""

import json
from pathlib import Path

from maskmill.data import cityscapes, voc
from maskmill.data.catalog import DATASETS
from maskmill.data.index import write_index
from maskmill.errors import InputError
from maskmill.storage.atomic import write_text
from maskmill.workflow import stage


def main(
    dataset: str,
    root: str | None,
    lists: dict,
    index: str,
    splits: list[str],
    manifest: str,
    subset: bool = False,
    threads: int = 1,
) -> None:
    about = DATASETS[dataset]
    if root is None:
        raise InputError(f"config: data.{dataset}.root is not set; set it to {about.origin}")
    if about.layout is None:
        ids = {role: cityscapes.read_split(root, name, subset=subset) for role, name in lists.items()}
        records = cityscapes.build_index(root, ids, lists, threads=threads)
    else:
        ids = {role: voc.read_list(root, name, about) for role, name in lists.items()}
        records = voc.build_index(root, ids, about, threads=threads)
    write_index(index, records)
    for path in splits:
        write_text(path, voc.list_text(ids[Path(path).stem]))
    entries, label_set = voc.manifest(records, ids, lists, about), Path(root, voc.LABEL_SET)
    if label_set.exists():
        entries = {split: {**entry, "labels": label_set.read_text().strip()} for split, entry in entries.items()}
    write_text(manifest, json.dumps(entries, indent=2) + "\n")


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

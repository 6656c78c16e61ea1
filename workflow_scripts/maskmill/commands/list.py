"""Say what is in a store: its kind, where it comes from, how many maps it holds and how large they are.

By hand: python workflow_scripts/list_store.py --store work/sample/voc/mars/irn/pseudo_labels.h5 --image 2012_000001
In: `store`, an .h5 file of the workflow: maps, merged shards, features or a table. Out: lines on stdout; with `image`,
those of one image's map alone: shape, range, and for labels the share of the pixels of each class.
`dataset`: whose classes a map has; default: that of the work folder.
"""

from functools import partial

from maskmill.data.work_folder import class_name, dataset_of, find_index
from maskmill.storage.describe import as_text, describe_map, describe_store
from maskmill.workflow import stage


def main(store: str, image: str | None = None, dataset: str | None = None) -> None:
    if image is None:
        print(as_text(describe_store(store)))
    else:
        name_of = partial(class_name, dataset=dataset_of(dataset, find_index(store)))
        print(as_text(describe_map(store, image, name_of)))


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

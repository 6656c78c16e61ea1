"""Which classes each training image's mask shows (spec BARM 1.1); tags may name others.

In: index, id list. Out: image id, then its class ids minus 1, one image a line, as the field publishes such lists.
"""

from pathlib import Path

from maskmill.data.catalog import DATASETS
from maskmill.data.images import read_mask
from maskmill.data.index import read_ids, read_index
from maskmill.data.voc import in_threads, tags_from_mask
from maskmill.errors import InputError
from maskmill.storage.atomic import write_text
from maskmill.workflow import stage


def main(dataset: str, index: str, ids: str, presence: str, threads: int = 1) -> None:
    records = read_index(index)

    def line(image_id: str) -> str:
        mask = records[image_id].mask
        if mask is None:
            raise InputError(f"image {image_id} has no mask to learn from; remove its id from the training list")
        shown = tags_from_mask(read_mask(mask, DATASETS[dataset].num_classes))
        return " ".join([image_id, *(str(class_id - 1) for class_id in shown)])

    lines = in_threads(line, read_ids(ids), threads, "classes")
    write_text(Path(presence), "".join(f"{text}\n" for text in lines))


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

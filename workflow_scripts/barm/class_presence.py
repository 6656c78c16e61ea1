"""List which classes each training image's mask shows. Tags may name other classes.

In: index and id list.
Out: a text file in the format of `datasets/data/voc/train_cls.txt` of ANDYZAQ/BARM.
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
    """List the classes of the images' masks.

    Args:
        presence: text file to write, one line per image: its id, then the mask ids of its classes minus 1.
    """
    records = read_index(index)

    def line(image_id: str) -> str:
        mask = records[image_id].mask
        if mask is None:
            raise InputError(f"image {image_id} has no mask to learn from; remove its id from the training list")
        present = tags_from_mask(read_mask(mask, DATASETS[dataset].num_classes))
        return " ".join([image_id, *(str(class_id - 1) for class_id in present)])

    lines = in_threads(line, read_ids(ids), threads, "classes")
    write_text(Path(presence), "".join(f"{text}\n" for text in lines))


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

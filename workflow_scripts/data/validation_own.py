"""List the images of your own that scores are measured on.

This is a stage of its own so that labels can be made without a list of images to score on.

In: index.
Out: id list.
"""

from maskmill.data.index import read_index
from maskmill.data.voc import list_text
from maskmill.errors import InputError
from maskmill.storage.atomic import write_text
from maskmill.workflow import stage


def main(index: str, val: str, scale: str) -> None:
    """List the images.

    Args:
        val: text file to write, with one id per line.
        scale: scale of the run, for the error message: sample, small or paper.
    """
    ids = [image_id for image_id, record in read_index(index).items() if "val" in record.splits]
    if not ids:
        raise InputError(
            "config: data.mine.val is not set, so there is nothing to score on; set it to a list of images with masks, "
            f"or ask for labels instead of a table: work/{scale}/mine/mars/irn/pseudo_labels.h5 (BAS: .../mine/bas/...)"
        )
    write_text(val, list_text(ids))


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

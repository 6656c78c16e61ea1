"""Import the pseudo labels of another method, for `mars.provider: external`.

In: index, id list, a folder of PNG files.
Out: labels.
"""

from pathlib import Path

from maskmill.data.catalog import find_dataset
from maskmill.data.images import read_mask, resized
from maskmill.data.index import read_ids, read_index, shard
from maskmill.errors import InputError
from maskmill.progress import progress
from maskmill.storage.maps import create_maps
from maskmill.workflow import stage


def main(
    dataset: str,
    index: str,
    ids: str,
    folder: str,
    maps: str,
    scatteritem: str = "1-of-1",
    short_side: int | None = None,
) -> None:
    """Import the labels of the images of one part.

    Args:
        folder: folder with `<image id>.png` for every image: palette or grey, class ids 0..C, 255 = ignore, at the
            image's size.
        maps: map store to write: labels uint8 [H, W] at the working size.
    """
    records, num_classes = read_index(index), find_dataset(dataset, index).num_classes
    with create_maps(maps, "label", producer="import_masks", parameters={"folder": folder}) as store:
        for image_id in progress(shard(read_ids(ids), scatteritem), f"import {scatteritem}"):
            record = records[image_id]
            path = Path(folder, f"{image_id}.png")
            mask = read_mask(path, num_classes, short_side)
            size = resized(record.height, record.width, short_side)
            if mask.shape != size:
                raise InputError(
                    f"{path}: mask of {mask.shape[1]}x{mask.shape[0]} pixels for an image of "
                    f"{record.width}x{record.height}; export it at the image's size"
                )
            store.write(image_id, mask)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

"""Take over another method's pseudo labels (mars.provider = external).

In: index, id list, a folder with one palette or grey PNG an image, `<image id>.png`, ids 0..C and 255, at the image's
size. Out: map store of kind `label`, uint8 [H, W] at working size.
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

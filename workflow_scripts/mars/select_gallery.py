"""Select the images whose pseudo labels are most biased: where most foreground lies on true background.

In: index, id list, pseudo labels.
Out: id list, most biased first.
"""

import numpy as np

from maskmill.data.catalog import find_dataset
from maskmill.data.images import read_mask
from maskmill.data.index import read_ids, read_index
from maskmill.progress import progress
from maskmill.refinement.resize import resize_labels
from maskmill.storage.atomic import write_text
from maskmill.storage.maps import open_maps
from maskmill.workflow import stage


def main(dataset: str, index: str, ids: str, labels: str, gallery: str, images: int) -> None:
    """Select the images.

    Args:
        ids: text file with the ids of the training images that have masks, one per line.
        labels: map store of pseudo labels.
        gallery: text file to write, with one id per line.
        images: number of images to select.
    """
    records, biased = read_index(index), open_maps(labels)
    num_classes = find_dataset(dataset, index).num_classes

    def bias(image_id: str) -> float:
        truth = read_mask(records[image_id].mask, num_classes)
        label = resize_labels(biased[image_id], truth.shape)
        return np.mean((truth == 0) & (label > 0) & (label != 255))

    shares = {image_id: bias(image_id) for image_id in progress(read_ids(ids), "gallery")}
    image_ids = sorted(shares, key=lambda image_id: (-shares[image_id], image_id))[:images]
    write_text(gallery, "".join(f"{image_id}\n" for image_id in image_ids))


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

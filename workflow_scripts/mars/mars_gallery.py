"""Draw what MARS does to the most biased images.

In: index, id list, class activation maps, labels before and after debiasing, the student's predictions.
Out: a picture with a row per image: image, truth, activations, pseudo label, debiased label with the removed region
    hatched, prediction.
"""

from maskmill.data.catalog import find_dataset
from maskmill.data.images import read_image, read_mask
from maskmill.data.index import read_ids, read_index
from maskmill.reporting.gallery import Row, draw_gallery
from maskmill.storage.maps import open_maps
from maskmill.workflow import stage


def main(
    dataset: str,
    index: str,
    ids: str,
    cams: str,
    biased: str,
    debiased: str,
    predictions: str,
    picture: str,
    scale: str,
    short_side: int | None = None,
) -> None:
    """Draw the picture.

    Args:
        ids: text file with the ids of the images to draw, one per line.
        biased: map store of the pseudo labels before debiasing.
        debiased: map store of the pseudo labels after debiasing.
        predictions: map store of the student's labels.
    """
    records = read_index(index)
    stores = [open_maps(path) for path in (cams, biased, debiased, predictions)]
    about, rows = find_dataset(dataset, index), []
    for image_id in read_ids(ids):
        record = records[image_id]
        cam, before, after, predicted = (store[image_id] for store in stores)
        rows.append(
            Row(
                title=f"{image_id}\n" + ", ".join(about.classes[c] for c in record.classes),
                image=read_image(record.image, short_side),
                truth=read_mask(record.mask, about.num_classes, short_side),
                cam=cam,
                before=before,
                after=after,
                predicted=predicted,
            )
        )
    draw_gallery(rows, picture, about.classes, f"MARS, scale {scale}: the training images with the most bias")


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

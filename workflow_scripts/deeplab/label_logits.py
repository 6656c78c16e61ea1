"""Label every pixel with the class of the highest score, without a CRF.

In: index, id list, score maps.
Out: labels.
"""

import numpy as np

from maskmill.data.images import resized
from maskmill.data.index import read_ids, read_index, shard
from maskmill.progress import progress
from maskmill.refinement.resize import resize_planes
from maskmill.refinement.score_maps import check_scores
from maskmill.storage.maps import create_maps, open_maps
from maskmill.workflow import stage


def main(
    index: str,
    ids: str,
    logits: str,
    maps: str,
    scatteritem: str = "1-of-1",
    short_side: int | None = None,
) -> None:
    """Label the images of one part.

    Args:
        maps: map store to write: labels uint8 [H, W] at the working size.
    """
    records, scores = read_index(index), open_maps(logits)
    with create_maps(maps, "label", producer="label_logits", inputs=[logits]) as store:
        for image_id in progress(shard(read_ids(ids), scatteritem), f"labels {scatteritem}"):
            size = resized(records[image_id].height, records[image_id].width, short_side)
            planes = scores[image_id]
            check_scores(planes, size, f"{logits}: {image_id}")
            planes = resize_planes(planes.astype(np.float32), size)
            store.write(image_id, planes.argmax(axis=0).astype(np.uint8))


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

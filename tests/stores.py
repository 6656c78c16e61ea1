"""A small work folder with stores of every kind, for tests of the commands."""

import numpy as np
from PIL import Image

from maskmill.data.index import Record, write_index
from maskmill.data.voc import write_mask
from maskmill.storage.features import write_features
from maskmill.storage.maps import create_maps, merge_maps
from maskmill.storage.tables import write_table

IDS = ("2012_000001", "2012_000002")
CAT, DOG, BIASED, IGNORE = 8, 12, 254, 255
HALF = np.repeat(np.array([[0, CAT]], np.uint8), 8, axis=1).repeat(12, axis=0)  # [12, 16]: the right half is a cat


def store(path, kind, maps, inputs=(), **attributes):
    """Write a map store; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with create_maps(path, kind, producer="test", parameters={"alpha": 0.5}, inputs=inputs) as writer:
        for image_id, array in maps.items():
            writer.write(image_id, array, **attributes)
    return path


def write_work_folder(root):
    """A work folder: two images with masks, labels before debiasing (in two shards) and after, and scores."""
    folder = root / "work/sample/voc"
    (folder / "scenes").mkdir(parents=True)
    records = []
    for image_id in IDS:
        image, mask = (f"work/sample/voc/scenes/{image_id}{end}.png" for end in ("", "_mask"))
        Image.fromarray(np.full((12, 16, 3), 90, np.uint8)).save(root / image)
        write_mask(root / mask, HALF)
        records.append(Record(image_id, image, mask, 12, 16, (CAT,), ("train",)))
    write_index(folder / "index.csv", records)
    wrong = HALF.copy()
    wrong[:6, :8] = DOG  # a quarter of the image
    shards = [store(folder / f"irn/pseudo_labels/{n + 1}-of-2.h5", "label", {i: wrong}) for n, i in enumerate(IDS)]
    merge_maps(shards, folder / "irn/pseudo_labels.h5")
    better = np.where(wrong == DOG, BIASED, wrong).astype(np.uint8)
    maps = {IDS[0]: better, IDS[1]: wrong}
    store(folder / "mars/irn/pseudo_labels.h5", "label", maps, [folder / "index.csv"])
    rng = np.random.default_rng([3])
    planes = {IDS[0]: rng.random((2, 3, 4)).astype(np.float16)}
    store(folder / "cams.h5", "cam", planes, classes=[CAT, DOG])
    store(folder / "cache/logits.h5", "logits", planes)
    store(folder / "cache/features.h5", "features", planes)
    store(folder / "cache/confidence.h5", "confidence", {IDS[0]: np.full((12, 16), 200, np.uint8)})
    store(folder / "cache/scores.h5", "probability", {IDS[0]: np.ones((2, 5), np.float32)})
    write_table(folder / "mars/irn/centroids.h5", {"images": np.array(IDS), "counts": np.arange(2)})
    keys = {"keys": list(IDS), "compute": lambda rows: np.zeros((len(rows), 3, 4)), "shape": (3, 4)}
    write_features(folder / "views.h5", **keys, producer="test", parameters={}, inputs=[])
    return folder

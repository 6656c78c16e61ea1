"""Images of one's own, drawn as a user has them."""

from pathlib import Path

import numpy as np
from PIL import Image

from maskmill.data.sample_scenes import draw_scene
from maskmill.data.voc import write_mask

TINY = Path(__file__).parent / "overlays/tiny.yaml"
OWN = ["--configfile", str(TINY), "mine.yaml"]  # the tiny overlay, then what a user writes
MINE = """\
data:
  mine:
    images: photos
    tags: tags.csv
    classes: [cat, traffic light, van]
    masks: masks
    val: val.txt
cwbass:
  ablations: {no_weight: null, no_threshold: null, no_boundary: null, decay: null}
mgd:
  students: {mobile: null}
shards: 1
"""


def write_photos(folder: Path) -> None:
    """Images as a user has them: 18 to train on with tags, of which 6 have masks, and 6 with masks to score on."""
    classes = ["cat", "traffic light", "van"]
    ids = np.array([0, *(number % 3 + 1 for number in range(20))], np.uint8)  # of the scenes' 20 classes
    rows, val = ["image,tags"], []
    for number in range(24):
        scene = draw_scene(number + 1, size=64)
        mask = ids[scene.mask]
        name = f"second day/IMG {number}" if number % 2 else f"IMG_{number}"
        for kind in ("photos", "masks"):
            (folder / kind / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene.image).save(folder / f"photos/{name}{'.jpg' if number % 3 else '.PNG'}", quality=95)
        if number < 12:
            write_mask(folder / f"masks/{name}.png", mask)
        if number < 6:
            val.append(name)
        else:
            named = [classes[class_id - 1] for class_id in np.unique(mask) if class_id]
            rows.append(f"{name}.jpg,{'; '.join(named) if number < 23 else ''}")  # the last one shows no class
    (folder / "tags.csv").write_text("\n".join([*rows, ""]))
    (folder / "val.txt").write_text("\n".join([*val, ""]))
    (folder / "mine.yaml").write_text(MINE)

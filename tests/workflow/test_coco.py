"""MS COCO as a data set of the targets: drawn scenes in its place, a user's root, and what is wrong with one."""

import json

import numpy as np
import pytest
from PIL import Image

TARGET = "results/bas_coco_miou.csv"
MANIFEST = "work/sample/coco/splits/manifest.json"


@pytest.fixture
def root(project):
    """A root of the user's own. Each split has one image: a crowd of dogs, half of it behind a smaller person."""
    root = project.folder / "coco"
    for split in ("train", "val"):
        name = f"COCO_{split}2014_000000000009"
        outlines = {18: [[0, 0, 64, 0, 64, 48, 0, 48]], 1: [[0, 0, 32, 0, 32, 48, 0, 48]]}
        annotations = [
            {
                **{"id": category, "image_id": 9, "category_id": category, "iscrowd": int(category == 18)},
                **{"area": 1000 * category, "segmentation": outline},
            }
            for category, outline in outlines.items()
        ]
        content = {
            "images": [{"id": 9, "file_name": f"{name}.jpg", "height": 48, "width": 64}],
            "annotations": annotations,
            "categories": [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}],
        }
        for folder in (f"{split}2014", "annotations"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48)).save(root / f"{split}2014/{name}.jpg")
        (root / f"annotations/instances_{split}2014.json").write_text(json.dumps(content))
    return root


def own(root, **values) -> str:
    return f"data={{coco: {json.dumps({'root': str(root), **values})}}}"


def test_bas_on_coco_is_planned_on_drawn_scenes_or_on_a_users_root(project, root):
    drawn = project.planned(TARGET)
    of_user = project.planned(TARGET, "--config", own(root))
    assert drawn["draw_scenes"] == of_user["prepare_coco"] == drawn["bas_table"] == 1
    assert set(drawn) - set(of_user) == {"draw_scenes"} and set(of_user) - set(drawn) == {"prepare_coco"}


def test_bas_and_mars_on_coco_are_planned_at_paper_scale(project, root):
    for target, table in ((TARGET, "bas_table"), ("results/mars_coco_miou.csv", "mars_table")):
        planned = project.planned(target, "--config", "scale=paper", own(root), configfile=None)
        assert planned["prepare_coco"] == planned[table] == 1 and planned["random_walk"] == 32
        assert "download_voc" not in planned


def test_a_users_coco_is_drawn_as_the_configuration_says_and_the_table_will_name_it(project, root):
    project.run(MANIFEST, "--config", own(root))
    val = json.loads((project.folder / MANIFEST).read_text())["val"]
    assert val["labels"] == "official instances, overlap smaller, crowd class"
    assert val["published"] == "custom: 1 images, published 40,137"
    assert {name for name, images in val["images_per_class"].items() if images} == {"person", "dog"}
    mask = project.folder / "work/sample/coco/converted/SegmentationClass/COCO_val2014_000000000009.png"
    assert np.array(Image.open(mask))[0, ::32].tolist() == [1, 17]

    assert project.planned(MANIFEST, "--config", own(root)) == {}
    for change in ({"overlap": "file"}, {"crowd": "ignore"}):
        assert project.planned(MANIFEST, "--config", own(root, **change)) == {"prepare_coco": 1, "build_index": 1}
    project.run(MANIFEST, "--config", own(root, crowd="ignore"))
    assert np.array(Image.open(mask))[0, ::32].tolist() == [1, 255]


def test_a_truncated_annotation_file(project, root):
    path = root / "annotations/instances_val2014.json"
    whole = path.read_text()
    path.write_text(whole[:200])
    line = project.fail(MANIFEST, "--config", own(root))
    assert str(path) in line and "truncated" in line and "annotations_trainval2014.zip" in line
    assert not (project.folder / MANIFEST).exists() and not project.partial_files()
    path.write_text(whole)
    project.run(MANIFEST, "--config", own(root))


def test_an_image_of_another_size(project, root):
    image = root / "train2014/COCO_train2014_000000000009.jpg"
    Image.new("RGB", (48, 64)).save(image)
    line = project.fail(MANIFEST, "--config", own(root))
    assert "COCO_train2014_000000000009.png: height and width are (48, 64), its image's (64, 48)" in line

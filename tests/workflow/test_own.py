"""Images of one's own, with tags and a few masks, through MARS, BAS, CW-BASS and MGD."""

import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import maskmill
from maskmill.data.images import read_mask
from maskmill.data.index import read_ids, read_index
from maskmill.data.voc import write_mask
from photos import MINE, OWN, write_photos

CLASSES = {"background", "cat", "traffic light", "van"}
WORK = "work/sample/mine"
MARS, BAS = "results/mars_mine_miou.csv", "results/bas_mine_miou.csv"


@pytest.fixture
def photos(project):
    """Photos, tags, masks and configuration as a user has them; nothing is made of them yet."""
    write_photos(project.folder)
    return project


def configure(project, old: str, new: str) -> None:
    """Write the configuration with a change."""
    assert old in MINE
    (project.folder / "mine.yaml").write_text(MINE.replace(old, new))


@pytest.mark.parametrize(
    ("method", "rows"),
    [
        ("mars", ["label/baseline", "label/mars", "student/baseline", "student/complement", "student/mars"]),
        ("bas", ["seed/cam", "seed/bas", "label/irn", "label/bas", "student/bas"]),
        ("cwbass", ["supervised", "cwbass"]),
        ("mgd", ["teacher_deep", "teacher_wide", "light_supervised", "light_cached"]),
    ],
)
def test_a_table_has_method_and_baseline_on_the_users_images_and_classes(own, method, rows):
    table = pd.read_csv(own.folder / f"results/{method}_mine_miou.csv", keep_default_na=False)
    assert list(table["variant"].unique()) == rows
    assert set(table["dataset"]) == {"mine"} and table["data"].str.startswith("mine ").all()
    assert set(table["class_name"]) - {""} == CLASSES
    assert set(table["images"]) == {6} and (table["paper_value"] == "").all() and (table["paper_source"] == "").all()
    miou = pd.to_numeric(table[table["metric"] == "miou"]["value"])
    assert len(miou) == len(rows) and miou.between(0, 100).all()


def test_a_table_says_which_images_were_scored_and_how_many_had_masks(own):
    data = pd.read_csv(own.folder / MARS).groupby("variant")["data"].first()
    assert data["label/mars"] == "mine train, images with masks; labels of irn"
    assert data["student/mars"] == "mine val; labels of irn"
    assert set(pd.read_csv(own.folder / "results/mgd_mine_miou.csv")["data"]) == {"mine val; masks: 6 of 18"}


def test_labels_of_all_training_images_show_their_tags_alone(own):
    records, ids = read_index(own.folder / WORK / "index.csv"), read_ids(own.folder / WORK / "splits/train.txt")
    assert len(ids) == 18 and "second day_IMG 7" in ids
    for store in ("mars/irn/pseudo_labels.h5", "bas/pseudo_labels.h5"):
        labels = maskmill.open_maps(own.folder / WORK / store)
        assert sorted(labels) == sorted(ids)
        for image_id in ids:
            assert set(np.unique(labels[image_id])) <= {0, 254, 255, *records[image_id].classes}
    assert records["second day_IMG 23"].classes == (), "an empty field: none of the classes"


def test_another_tag_or_mask_is_another_index(own, tmp_path):
    shutil.copytree(own.folder, tmp_path, dirs_exist_ok=True)
    copied = type(own)(tmp_path)
    assert copied.planned(MARS, BAS, *OWN, configfile=None) == {}
    path = tmp_path / "tags.csv"
    path.write_text(path.read_text().replace(";", " ;", 1))
    assert {"index_own", "train_classifier", "mars_table"} <= set(copied.planned(MARS, *OWN, configfile=None))
    shutil.copy(own.folder / "tags.csv", path)
    assert copied.planned(MARS, *OWN, configfile=None) == {}
    mask = tmp_path / "masks/IMG_6.png"
    painted = read_mask(mask, len(CLASSES))
    write_mask(mask, np.where(painted % 255, painted % 3 + 1, painted).astype(np.uint8))  # other classes, same shapes
    cwbass = "results/cwbass_mine_miou.csv"
    assert {"index_own", "train_supervised"} <= set(copied.planned(cwbass, *OWN, configfile=None))
    shutil.copy(own.folder / "masks/IMG_6.png", mask)
    assert copied.planned(cwbass, *OWN, configfile=None) == {}
    mask.unlink()
    assert "index_own" in copied.planned(cwbass, *OWN, configfile=None)


def test_a_mask_of_equal_size_with_other_classes_is_another_index(photos):
    mask = photos.folder / "masks/IMG_6.png"
    painted = read_mask(mask, len(CLASSES))
    Image.fromarray(painted).save(mask, compress_level=0)
    size = mask.stat().st_size
    photos.run(f"{WORK}/index.csv", *OWN, configfile=None)
    assert photos.planned(f"{WORK}/index.csv", *OWN, configfile=None) == {}
    Image.fromarray(np.where(painted, painted % 3 + 1, 0).astype(np.uint8)).save(mask, compress_level=0)
    assert mask.stat().st_size == size
    assert photos.planned(f"{WORK}/index.csv", *OWN, configfile=None) == {"index_own": 1}


def test_training_images_without_masks_leave_the_rows_of_students(photos):
    for number in range(6, 12):
        name = f"second day/IMG {number}" if number % 2 else f"IMG_{number}"
        (photos.folder / f"masks/{name}.png").unlink()
    planned = photos.planned(MARS, *OWN, configfile=None)
    assert planned["evaluate"] == 6 and not {"evaluate_seeds", "mars_gallery"} & set(planned)
    planned = photos.planned(BAS, *OWN, configfile=None)
    assert planned["evaluate"] == 1 and not {"evaluate_seeds", "evaluate_bas_seeds"} & set(planned)
    line = photos.fail("results/mgd_mine_miou.csv", *OWN, configfile=None)
    assert line == "config: no training image has a mask in data.mine.masks; add masks of some"


def test_tags_alone_give_labels_and_predictions_and_a_table_says_what_it_lacks(photos):
    shutil.rmtree(photos.folder / "masks")
    configure(photos, "    masks: masks\n    val: val.txt\n", "")
    path = photos.folder / "tags.csv"
    path.write_text(path.read_text() + "".join(f"{name},cat\n" for name in read_ids(photos.folder / "val.txt")))
    wanted = [f"{WORK}/{name}.h5" for name in ("mars/irn/pseudo_labels", "students/irn/mars/train/predictions")]
    planned = photos.planned(*wanted, *OWN, configfile=None)
    assert planned["debias_labels"] == planned["crf_predictions"] == 1 and "validation_own" not in planned
    line = photos.fail(BAS, *OWN, configfile=None)
    assert line.startswith("config: data.mine.val is not set") and f"{WORK}/mars/irn/pseudo_labels.h5" in line
    assert not (photos.folder / BAS).exists() and not photos.partial_files()


def test_masks_alone_are_enough_for_those_who_learn_from_them(photos):
    configure(photos, "    tags: tags.csv\n", "")
    wanted = f"{WORK}/partitions/own/all/mgd/light_cached/train/argmax.h5"
    assert photos.planned(wanted, *OWN, configfile=None)["predict_labels"] == 1
    line = photos.fail(f"{WORK}/cams.h5", *OWN, configfile=None)
    assert "the image has no tags to learn from (12 of 18 images have none); complete the table data.mine.tags" in line


def test_a_model_of_ones_own_images_needs_none_to_score_on(photos):
    configure(photos, "    val: val.txt\n", "")
    exported = ("models/mgd_light.onnx", *OWN, "--config", "export={datasets: {mgd: mine}}")
    planned = photos.planned(*exported, configfile=None)
    assert planned["export_mgd"] == 1 and "validation_own" not in planned


def test_background_is_no_class_of_the_users(photos):
    configure(photos, "[cat,", "[background, cat,")
    line = photos.fail(MARS, *OWN, configfile=None)
    assert line == "config: data.mine.classes has 'background', which is mask id 0 by itself; remove it"

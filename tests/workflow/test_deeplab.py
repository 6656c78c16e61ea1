"""DeepLab's target at the tiny overlay: its table, the search for the CRF's setting, what an edit reruns."""

import json

import numpy as np
import pandas as pd
import pytest

import maskmill
from maskmill.data.index import read_ids

TARGET = "results/deeplab_voc_miou.csv"
WORK = "work/sample/voc/deeplab"
VARIANTS = ("largefov", "aspp_s", "aspp_l", "aspp_l_msc")


@pytest.fixture(scope="session")
def deeplab(finished):
    """The target, complete, in the folder of the first one."""
    finished.run(TARGET)
    return finished


def test_table_has_every_variant_without_and_with_the_crf(deeplab):
    table = pd.read_csv(deeplab.folder / TARGET)
    assert list(table["variant"].unique()) == [f"{v}{crf}" for v in VARIANTS for crf in ("", "+crf")]
    assert set(table["images"]) == {6} and table["value"].between(0, 100).all()
    assert table.dropna(subset="paper_value")["paper_source"].str.endswith("not comparable").all()


def test_logits_are_kept_at_the_networks_stride_in_half_precision(deeplab):
    store = maskmill.open_maps(deeplab.folder / WORK / "aspp_l/val/logits/1-of-1.h5")
    assert store.kind == "logits" and len(store) == 6
    for image_id in store:
        assert store[image_id].dtype == np.float16 and store[image_id].shape == (21, 8, 8)


def test_search_takes_the_best_setting_of_the_coarse_and_the_fine_grid(deeplab):
    work = deeplab.folder / WORK
    tried = pd.read_csv(work / "crf_search.csv")
    chosen = json.loads((work / "crf_setting.json").read_text())
    assert list(tried["stage"].unique()) == ["none", "coarse", "fine"]
    assert (tried["stage"] == "coarse").sum() == 2
    assert chosen["miou"] == pytest.approx(tried.query("stage != 'none'")["miou"].max(), abs=1e-3)
    assert chosen["miou_without"] == pytest.approx(tried["miou"].iloc[0], abs=1e-3)
    assert chosen["crf"]["gaussian_sxy"] == 3, "fixed, as in the paper"


def test_search_looks_at_training_images_only(deeplab):
    searched = set(read_ids(deeplab.folder / WORK / "crf_search.txt"))
    splits = deeplab.folder / "work/sample/voc/splits"
    assert len(searched) == 2
    assert searched <= set(read_ids(splits / "labelled_train.txt"))
    assert not searched & set(read_ids(splits / "val.txt"))


def test_a_fixed_setting_needs_no_search(deeplab):
    planned = deeplab.planned(TARGET, "--config", "deeplab={crf: fixed}")
    assert planned["crf_logits"] == 4 and "crf_search" not in planned and "train_deeplab" not in planned


@pytest.mark.parametrize(
    ("change", "first", "untouched"),
    [
        ("deeplab={lr: 0.1}", {"train_deeplab": 4}, {"build_index", "train_classifier"}),
        ("deeplab={variants: {largefov: {rates: [3]}}}", {"train_deeplab": 1, "crf_logits": 1}, {"crf_search"}),
        ("deeplab={crf_search: {images: 3}}", {"select_search_images": 1, "crf_search": 1}, {"train_deeplab"}),
    ],
)
def test_editing_a_value_reruns_the_stages_that_read_it(deeplab, change, first, untouched):
    planned = deeplab.planned(TARGET, "--config", change)
    assert {rule: planned.get(rule) for rule in first} == first
    assert not untouched & set(planned)


def test_several_processes_give_the_same_labels(deeplab):
    before = maskmill.open_maps(deeplab.folder / WORK / "aspp_l/val/predictions.h5")
    labels = {image_id: before[image_id] for image_id in before}
    before.close()
    shard = f"{WORK}/aspp_l/val/predictions/1-of-1.h5"
    deeplab.run(shard, "--force", "--config", "resources={threads_crf: 2}")
    after = maskmill.open_maps(deeplab.folder / shard)
    assert len(after) == 6
    for image_id in after:
        np.testing.assert_array_equal(after[image_id], labels[image_id])


def test_weights_from_coco_need_one_of_caffes_networks(deeplab):
    line = deeplab.fail(TARGET, "--dry-run", "--config", "deeplab={init: coco}")
    assert "deeplab.init is coco" in line and "resnet101_caffe" in line


def test_an_unknown_searched_variant_is_named(deeplab):
    line = deeplab.fail(TARGET, "--dry-run", "--config", "deeplab={crf_search: {variant: aspp_m}}")
    assert "aspp_m" in line and "largefov, aspp_s" in line

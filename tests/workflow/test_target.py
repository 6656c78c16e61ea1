"""The target at a tiny overlay: the whole DAG, its files and its table; what an edit reruns."""

import json
import os
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import maskmill
import warm
from maskmill.data.index import read_ids, read_index
from maskmill.storage.checkpoints import load_tensors

TARGET = "results/mars_voc_miou.csv"
WORK = "work/sample/voc"
AFTER_DEBIASING = {
    "train_mars_student",
    "predict",
    "crf_predictions",
    "evaluate",
    "merge_maps",
    "mars_gallery",
    "mars_training",
    "mars_table",
}
DEBIASING = {"image_centroids", "debiased_centroids", "debias_labels"}


def test_table_has_every_variant_in_the_house_columns(finished):
    table = pd.read_csv(finished.folder / TARGET)
    assert list(table.columns) == (
        [
            "method",
            "dataset",
            "scale",
            "data",
            "images",
            "variant",
            "seed",
            "settings",
            "metric",
            "class_name",
            "value",
            "paper_value",
            "paper_source",
        ]
    )
    assert list(table["variant"].unique()) == [
        *("label/baseline", "label/mars"),
        *("student/baseline", "student/complement", "student/mars"),
    ]
    assert set(table["metric"]) == {"miou", "iou", "fp", "fn"}
    assert table["value"].between(0, 100).all()
    assert (table["scale"] == "sample").all() and table["data"].str.startswith("sample scenes").all()
    images = table.groupby("variant")["images"].first()
    assert images["label/mars"] == 12 and images["student/mars"] == 6
    paper = table.dropna(subset="paper_value")
    assert set(paper["metric"]) == {"miou"} and paper["paper_source"].str.endswith("not comparable").all()


def test_table_is_printed(finished):
    assert "student/complement" in (finished.folder / "printed").read_text()


def test_every_stage_left_a_readable_file(finished):
    work = finished.folder / WORK
    ids = read_ids(work / "splits/train.txt")
    records = read_index(work / "index.csv")
    assert len(ids) == 24 and set(ids) < set(records)
    for name, kind in {
        "cams": "cam",
        "affinity_labels": "label",
        "irn/pseudo_labels": "label",
        "uss/features": "features",
        "mars/irn/pseudo_labels": "label",
    }.items():
        store = maskmill.open_maps(work / f"{name}.h5")
        assert store.kind == kind and sorted(store) == sorted(ids), name
    before = maskmill.open_maps(work / "irn/pseudo_labels.h5")
    after = maskmill.open_maps(work / "mars/irn/pseudo_labels.h5")
    for image_id in ids:
        record = records[image_id]
        assert before[image_id].shape == after[image_id].shape == (record.height, record.width)
        changed = before[image_id] != after[image_id]
        assert (after[image_id][changed] == 254).all() and (before[image_id][changed] > 0).all()
        assert set(np.unique(before[image_id])) <= {0, *record.classes}
    for checkpoint in work.rglob("*.safetensors"):
        assert load_tensors(checkpoint)[0]


def test_manifest_states_counts_and_hashes(finished):
    manifest = json.loads((finished.folder / WORK / "splits/manifest.json").read_text())
    assert manifest["train"]["images"] == 24 and manifest["val"]["images"] == 6
    assert len(manifest["val"]["sha256"]) == 64


def test_gallery_is_a_picture(finished):
    with Image.open(finished.folder / "results/mars_voc_gallery.png") as picture:
        assert picture.width > 800 and picture.height > 300


def test_metrics_of_the_stages_on_the_way_are_written(finished):
    work = finished.folder / WORK
    curve = pd.read_csv(work / "seed_miou.csv")
    assert list(curve.columns) == ["threshold", "miou"] and len(curve) == 56
    for variant in ("baseline", "complement", "mars"):
        for stage in ("argmax", "predictions"):
            scores = pd.read_csv(work / f"students/irn/{variant}/val/{stage}_scores.csv")
            assert scores["metric"].iloc[0] == "miou"


def test_probabilities_are_not_kept_and_nothing_partial_is_left(finished):
    assert not list((finished.folder / WORK).rglob("probabilities/*.h5"))
    assert not finished.partial_files()


def test_second_run_does_nothing_and_says_so(finished):
    assert "Nothing to be done" in finished.run(TARGET)


def edited(finished, name, line="\nEDITED = 1\n"):
    """Append to a file, dry-run, and put the file back, its time included: Snakemake looks at that of scripts."""
    path = finished.folder / name
    text, times = path.read_text(), path.stat()
    path.write_text(text + line)
    try:
        return finished.planned(TARGET)
    finally:
        path.write_text(text)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_editing_mars_reruns_debiasing_and_what_follows_and_nothing_before(finished):
    planned = edited(finished, "workflow_scripts/maskmill/methods/mars.py")
    assert set(planned) == DEBIASING | AFTER_DEBIASING
    assert planned["image_centroids"] == planned["debias_labels"] == 1
    assert planned["train_mars_student"] == 2
    assert planned["predict"] == 3, "those of complement/val, mars/val and mars/gallery, none of the baseline's"


def test_editing_reporting_reruns_only_the_pictures(finished):
    assert set(edited(finished, "workflow_scripts/maskmill/reporting/gallery.py")) == {"mars_gallery", "mars_table"}


@pytest.mark.parametrize(
    "name",
    [
        "workflow_scripts/maskmill/storage/maps.py",
        "workflow_scripts/maskmill/training/loop.py",
        "workflow_scripts/mars/debias_labels.py",
    ],
)
def test_a_comment_reruns_nothing_also_in_what_all_stages_are_built_on(finished, name):
    assert edited(finished, name, "\n# an edit\n") == {}


def test_editing_a_script_reruns_its_rule_and_what_follows(finished):
    assert set(edited(finished, "workflow_scripts/mars/debias_labels.py")) == {"debias_labels"} | AFTER_DEBIASING


@pytest.mark.parametrize(
    ("change", "first", "untouched"),
    [
        ("mars={alpha: 0.5}", {"debiased_centroids", "debias_labels"}, {"image_centroids", "train_student"}),
        ("mars={teacher: {label_space: all}}", {"train_mars_student"}, {"debias_labels", "train_student"}),
        ("prediction={keep: 0.1}", {"predict"}, {"train_student", "train_mars_student", "debias_labels"}),
        ("irn={walk: {beta: 8}}", {"random_walk", "image_centroids", "train_student"}, {"train_irn", "uss_features"}),
        ("uss={lr: 0.001}", {"train_uss", "uss_features"}, {"uss_neighbours", "train_classifier", "train_student"}),
        ("classifier={lr_head: 0.2}", {"train_classifier", "cams"}, {"build_index", "train_uss"}),
        ("mars={ablations: []}", {"mars_table"}, {"train_student", "train_mars_student", "predict"}),
    ],
)
def test_editing_a_value_reruns_the_stages_that_read_it(finished, change, first, untouched):
    planned = set(finished.planned(TARGET, "--config", change))
    assert first <= planned and not untouched & planned


def test_how_to_train_is_no_reason_to_train_again(finished):
    assert finished.planned(TARGET, "--config", "training={max_minutes: 5, save_minutes: 1}") == {}


def export(finished, name, folder, biased):
    """Run the export command; returns the store that was exported."""
    store = finished.folder / WORK / name
    command = [sys.executable, str(finished.folder / "workflow_scripts/maskmill"), "export"]
    command += ["--maps", str(store), "--folder", str(folder), "--biased", str(biased)]
    warm.run(command, check=True, cwd=finished.folder)
    return maskmill.open_maps(store)


def test_labels_export_as_palette_png(finished, tmp_path):
    maps = export(finished, "mars/irn/pseudo_labels.h5", tmp_path, biased=255)
    assert len(list(tmp_path.glob("*.png"))) == len(maps)
    for image_id in maps:
        with Image.open(tmp_path / f"{image_id}.png") as picture:
            assert picture.mode == "P"
            expected = np.where(maps[image_id] == 254, 255, maps[image_id])
            np.testing.assert_array_equal(np.array(picture), expected)


def test_masks_of_another_method_are_debiased_without_irn(finished, tmp_path):
    """Model-agnostic: exported masks come back as an external provider, and IRN has no part in it."""
    exported = export(finished, "irn/pseudo_labels.h5", tmp_path, biased=255)
    external = f"mars={{provider: external, external: {tmp_path}}}"
    planned = finished.planned(TARGET, "--config", external)
    assert planned["import_masks"] == 1
    assert not {"train_irn", "random_walk", "affinity_labels"} & set(planned)
    finished.run(f"{WORK}/mars/external/pseudo_labels.h5", "--config", external)
    imported = maskmill.open_maps(finished.folder / WORK / "external/pseudo_labels.h5")
    debiased = maskmill.open_maps(finished.folder / WORK / "mars/external/pseudo_labels.h5")
    ours = maskmill.open_maps(finished.folder / WORK / "mars/irn/pseudo_labels.h5")
    for image_id in exported:
        np.testing.assert_array_equal(imported[image_id], exported[image_id])
        np.testing.assert_array_equal(debiased[image_id], ours[image_id])

"""Paper scale: the whole DAG can be planned, and every stage runs once at the paper's sizes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

import maskmill
from maskmill.data.voc import write_mask
from maskmill.storage.checkpoints import load_tensors

OVERLAY = Path(__file__).parents[1] / "overlays/paper_two_images.yaml"
TARGET = "results/mars_voc_miou.csv"
STAGES = {
    *("train_classifier", "cams", "evaluate_seeds", "affinity_labels", "train_irn", "random_walk", "merge_maps"),
    *("uss_neighbours", "train_uss", "uss_features", "image_centroids", "debiased_centroids", "debias_labels"),
    *("train_student", "train_mars_student", "predict", "crf_predictions", "evaluate", "select_gallery"),
    *("mars_gallery", "mars_curves", "mars_training", "mars_table", "build_index"),
}


def test_dry_run_plans_the_whole_dag_from_downloads_to_the_table(project):
    planned = project.planned(TARGET, "--config", "scale=paper", configfile=None)
    assert set(planned) == STAGES | {"download_voc", "prepare_voc", "prepare_weights"}
    assert planned["cams"] == planned["random_walk"] == planned["uss_features"] == 32
    assert planned["train_mars_student"] == 2 and planned["download_voc"] == 2
    assert planned["prepare_weights"] == 3, "ResNet-50, ResNet-101 and DINO's ViT-B/8"


def test_a_plan_names_every_file_to_download_with_its_place(project):
    plan = project.run(TARGET, "-n", "--config", "scale=paper", configfile=None)
    lines = {line.partition(": ")[2] for line in plan.splitlines() if ": Download " in line}
    places = {line.split(" to ")[1].split(" ")[0] for line in lines}
    assert places == {
        *("downloads/voc/archives/VOCtrainval_11-May-2012.tar", "downloads/voc/archives/benchmark.tgz"),
        *("downloads/weights/published/resnet50-19c8e357.pth", "downloads/weights/published/resnet101-5d3b4d8f.pth"),
        "downloads/weights/published/dino_vitbase8_pretrain.pth",
    }
    assert (
        "Download https://download.pytorch.org/models/resnet50-19c8e357.pth to "
        "downloads/weights/published/resnet50-19c8e357.pth (sha256 19c8e357...)"
    ) in lines


def two_images(root: Path, height=64, width=88) -> None:
    rng = np.random.default_rng(0)
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for number, name in enumerate(("2007_000001", "2007_000002")):
        image = rng.integers(0, 90, (height, width, 3), dtype=np.uint8)
        mask = np.zeros((height, width), np.uint8)
        image[15:50, 15:60, number] += 120
        mask[15:50, 15:60] = (8, 12)[number]
        Image.fromarray(image).save(root / f"JPEGImages/{name}.jpg")
        write_mask(root / f"SegmentationClass/{name}.png", mask)
    for split, ids in {"train_aug": "1 2", "train": "1 2", "val": "2"}.items():
        text = "".join(f"2007_00000{n}\n" for n in ids.split())
        (root / f"ImageSets/Segmentation/{split}.txt").write_text(text)


@pytest.mark.slow
def test_every_stage_runs_at_the_papers_sizes_and_tells_its_peak_memory(project):
    two_images(project.folder / "VOC2012")
    overlay = yaml.safe_load(OVERLAY.read_text())
    overlay["data"] = {"voc": {"root": str(project.folder / "VOC2012")}}
    configfile = project.folder / "mine.yaml"
    configfile.write_text(yaml.safe_dump(overlay))
    project.run(TARGET, configfile=configfile)

    work = project.folder / "work/paper/voc"
    student = load_tensors(work / "students/irn/mars/student.safetensors")[0]
    assert student["backbone.stages.3.22.conv3.weight"].shape[0] == 1024, "ResNet-101"
    assert maskmill.open_maps(work / "uss/features.h5")["2007_000001"].shape == (70, 8, 11), "ViT-B/8's grid"

    folder = project.folder / "benchmarks/paper"
    memory = {str(p.relative_to(folder)): pd.read_csv(p, sep="\t")["max_rss"].max() for p in folder.rglob("*.tsv")}
    table = pd.Series(memory, name="peak MB").sort_values(ascending=False)
    print(table.head(12).to_string())
    ran = {stage for stage in STAGES if any(stage in path for path in memory)}
    assert ran == STAGES
    assert memory["voc/train_mars_student/irn_mars.tsv"] > 500

"""Bad inputs: one line that names the file and the fix, nothing partial, and the run after the repair completes."""

import shutil

import numpy as np
import pytest
import yaml

from maskmill.data.catalog import CITYSCAPES
from maskmill.data.sample_scenes import draw_scenes, draw_stand_ins
from maskmill.data.voc import write_mask

INDEX = "work/sample/voc/index.csv"
CLASSIFIER = "work/sample/voc/classifier/classifier.safetensors"


@pytest.fixture
def own_root(project):
    """A root of the user's own, and the configuration that names it."""
    root = project.folder / "VOC2012"
    draw_scenes(root, train_aug=12, train=6, val=3, size=64)
    overlay = yaml.safe_load((project.folder / "tiny.yaml").read_text())
    overlay["data"]["voc"] = {"root": str(root)}
    configfile = project.folder / "mine.yaml"
    configfile.write_text(yaml.safe_dump(overlay))
    return root, configfile


@pytest.fixture(autouse=True)
def _tiny(project):
    from pathlib import Path

    shutil.copy(Path(__file__).parents[1] / "overlays/tiny.yaml", project.folder / "tiny.yaml")


def test_missing_root(project, own_root):
    root, configfile = own_root
    away = root.rename(root.with_name("away"))
    line = project.fail(INDEX, configfile=configfile)
    assert str(root) in line and "data.voc.root" in line
    assert not (project.folder / INDEX).exists() and not project.partial_files()
    away.rename(root)
    project.run(INDEX, configfile=configfile)


def test_truncated_image(project, own_root):
    root, configfile = own_root
    image = sorted((root / "JPEGImages").iterdir())[0]
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    line = project.fail(CLASSIFIER, configfile=configfile)
    assert str(image) in line and "truncated" in line and "replace the file" in line
    assert not (project.folder / CLASSIFIER).exists() and not project.partial_files()
    image.write_bytes(whole)
    project.run(CLASSIFIER, configfile=configfile)


def test_mask_with_a_class_id_out_of_range(project, own_root):
    root, configfile = own_root
    shutil.rmtree(root / "Annotations")  # tags then come from the masks
    mask = sorted((root / "SegmentationClass").iterdir())[0]
    whole = mask.read_bytes()
    write_mask(mask, np.full((64, 64), 42, np.uint8))
    line = project.fail(INDEX, configfile=configfile)
    assert str(mask) in line and "class id 42 is out of range 0..20" in line
    assert not (project.folder / INDEX).exists() and not project.partial_files()
    mask.write_bytes(whole)
    project.run(INDEX, configfile=configfile)


def test_unknown_class_name(project, own_root):
    root, configfile = own_root
    annotation = sorted((root / "Annotations").iterdir())[0]
    whole = annotation.read_text()
    name = whole.split("<name>")[1].split("</name>")[0]
    annotation.write_text(whole.replace(f"<name>{name}</name>", "<name>hors</name>"))
    line = project.fail(INDEX, configfile=configfile)
    assert str(annotation) in line and "'hors'" in line and "did you mean 'horse'?" in line
    assert not (project.folder / INDEX).exists() and not project.partial_files()
    annotation.write_text(whole)
    project.run(INDEX, configfile=configfile)


def test_misspelt_config_key(project):
    line = project.fail(INDEX, "--config", "mars={alhpa: 0.5}")
    assert line == "config: unknown key 'mars.alhpa'; did you mean 'alpha'?"
    assert not (project.folder / "work").exists()
    project.run(INDEX, "--config", "mars={alpha: 0.5}")


def test_config_value_out_of_range_and_unknown_scale(project):
    line = project.fail(INDEX, "--config", "mars={kmeans: cosine}")
    assert line.startswith("config: mars.kmeans: 'cosine' is not one of ['spherical', 'euclidean']")
    assert "scale 'smal' is not one of paper, sample, small" in project.fail(INDEX, "--config", "scale=smal")


def test_names_in_the_configuration_are_checked_before_anything_runs(project):
    line = project.fail(INDEX, "--config", "data={voc: {classes: [cat, hors]}}")
    assert line == "config: data.voc.classes: unknown class 'hors'; did you mean 'horse'?"
    assert "set mars.external" in project.fail(INDEX, "--config", "mars={provider: external}")
    line = project.fail(INDEX, "--config", "export={datasets: {p2at: coco}}")
    assert line == "config: export.datasets.p2at 'coco' is not one of camvid, cityscapes, voc; correct it"
    line = project.fail(INDEX, "--config", "export={datasets: {mars: vok}}")
    assert line.startswith("config: export.datasets.mars 'vok' is not one of voc, context, ")


@pytest.mark.parametrize("dataset", ["context", "person_part", "cityscapes", "coco"])
def test_data_set_that_is_not_downloaded_needs_a_root_and_the_sample_draws_one(project, dataset):
    index = f"work/paper/{dataset}/index.csv"
    line = project.fail(index, "--config", "scale=paper")
    assert line.startswith(f"config: data.{dataset}.root is not set; ") and "never downloaded" in line
    assert not (project.folder / index).exists() and not project.partial_files()
    assert project.planned(f"work/sample/{dataset}/index.csv") == {"draw_scenes": 1, "build_index": 1}
    project.run(f"work/sample/{dataset}/index.csv")


def test_cityscapes_without_a_city_and_with_labelids_for_trainids(project):
    root, index = project.folder / "cityscapes", "work/sample/cityscapes/index.csv"
    draw_stand_ins(root, CITYSCAPES, train=18, val=3, size=32)
    own = ("--config", f"data={{cityscapes: {{root: {root}}}}}")
    away = (root / "leftImg8bit/train/ulm").rename(project.folder / "ulm")
    line = project.fail(index, *own)
    assert str(root) in line and "(ulm)" in line and "data.cityscapes.subset" in line
    subset = f"data={{cityscapes: {{root: {root}, subset: true}}}}"
    assert project.planned(index, "--config", subset) == {"build_index": 1}
    away.rename(root / "leftImg8bit/train/ulm")

    mask = next((root / "gtFine/val").rglob("*.png"))
    whole = mask.read_bytes()
    write_mask(mask, np.full((32, 32), 26, np.uint8))  # "car" among labelIds
    line = project.fail(index, *own)
    assert str(mask) in line and "class id 26" in line and "csCreateTrainIdLabelImgs" in line
    assert not (project.folder / index).exists() and not project.partial_files()
    mask.write_bytes(whole)
    project.run(index, *own)
    (root / "leftImg8bit/train/ulm").rename(away)  # another set of images is another index
    assert project.planned(index, "--config", subset) == {"build_index": 1}


def test_map_store_cut_off_by_a_kill(project):
    affinity = "work/sample/voc/affinity_labels/1-of-1.h5"
    project.run("work/sample/voc/cams.h5")
    shard = project.folder / "work/sample/voc/cams/1-of-1.h5"
    shard.write_bytes(shard.read_bytes()[:3000])
    line = project.fail(affinity)
    assert "cams/1-of-1.h5" in line and "delete it and run again" in line
    assert not (project.folder / affinity).exists() and not project.partial_files()
    shard.unlink()
    project.run(affinity)


def test_archive_with_another_checksum(project):
    """The published archives are 2 GB: the run after a repair is tested with a small one in test_download."""
    archive = project.folder / "downloads/voc/archives/VOCtrainval_11-May-2012.tar"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"not the archive")
    (archive.parent / "benchmark.tgz").write_bytes(b"nor this")
    line = project.fail("downloads/voc/VOC2012/.complete", "--config", "scale=paper")
    assert archive.name in line and "6cd6e144f989b92b3379bac3b3de84fd" in line
    assert not (project.folder / "downloads/voc/VOC2012").exists() and not project.partial_files()


def test_a_result_that_no_rule_makes_is_named_with_the_nearest_one(project):
    line = project.fail("results/mars_vok_miou.csv", "-n")
    assert line == "config: no rule makes results/mars_vok_miou.csv; did you mean results/mars_voc_miou.csv?"


def test_a_data_set_that_a_method_has_no_table_of_is_refused(project):
    line = project.fail(INDEX, "-n", "--config", "zeroseg={datasets: {mine: {threshold: 0.5}}}")
    assert line == (
        "config: zeroseg.datasets has 'mine', but tables are made of voc, context, coco, ade20k alone; remove it"
    )


def test_a_backbone_without_published_weights_needs_a_file_or_another_start(project):
    change = ["scale=paper", "student={network: {backbone: sample_cnn}}"]
    line = project.fail(INDEX, "-n", "--config", *change)
    file = "downloads/weights/sample_cnn.safetensors"
    assert line.startswith(f"config: no weights of sample_cnn are published; put yours at {file}, or let it start ")
    (project.folder / file).parent.mkdir(parents=True)
    (project.folder / file).touch()
    project.run("work/paper/voc/index.csv", "-n", "--config", *change)

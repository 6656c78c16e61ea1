"""P2AT's targets at the tiny overlay: tables, speed, exported models, what segments with them; and bad inputs."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import warm
from maskmill.data.catalog import CAMVID, CAMVID_COLOURS
from maskmill.storage.onnx_models import OnnxModel

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ["results/p2at_camvid_miou.csv", "results/p2at_camvid_speed.csv", "models/p2at_s.onnx"]
WAYS = ["eager", "folded", "fused", "channels_last", "onnxruntime"]


def segment(model, source, output) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "workflow_scripts/maskmill", "segment", "--model", model, "--source", source]
    return warm.run([*command, "--output", output])


def pictures(count: int, size=(48, 64)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *size, 3), np.uint8)


def test_table_has_the_variants_and_the_plain_baseline(p2at):
    table = pd.read_csv(p2at.folder / TARGETS[0])
    assert list(table["variant"].unique()) == ["s", "m", "l", "plain_decoder"]
    assert table[table["metric"] == "miou"]["value"].between(0, 100).all()
    assert (table["data"] == "sample scenes val").all()
    paper = table[(table["metric"] == "miou") & (table["variant"] != "plain_decoder")]
    assert paper["paper_value"].tolist() == [80.5, 81.0, 81.1]
    assert paper["paper_source"].str.endswith("; not comparable").all()


def test_every_speed_row_tells_its_protocol(p2at):
    table = pd.read_csv(p2at.folder / TARGETS[1])
    assert list(zip(table["variant"], table["way"], strict=True)) == [
        (variant, way) for variant in ("s", "m", "l", "plain_decoder") for way in WAYS
    ]
    protocol = table[["height", "width", "batch", "warm_up", "passes", "includes_upsample", "dtype"]].drop_duplicates()
    assert protocol.values.tolist() == [[64, 64, 1, 1, 2, True, "float32"]]
    assert (table["threads"] >= 1).all() and table["device"].str.len().gt(0).all()
    assert (table[["parameters_m", "gmacs", "latency_ms", "latency_p95_ms", "fps", "speedup"]] > 0).all(axis=None)
    np.testing.assert_allclose(table["fps"], 1000 / table["latency_ms"], rtol=2e-3)
    assert (table[table["way"] == "eager"]["speedup"] == 1).all()


def test_folding_takes_parameters_away(p2at):
    table = pd.read_csv(p2at.folder / TARGETS[1]).query("variant == 's'").set_index("way")
    kept = 2 * 64 * (64 + 1)  # per context a 1x1 convolution with bias, for a 3x3, a 7x7, scale and bias
    gone = 2 * (64 * 64 * (9 + 49) + 2 * 64)
    assert table["parameters_m"]["eager"] - table["parameters_m"]["folded"] == pytest.approx(
        (gone - kept) / 1e6, abs=1e-3
    )
    assert table["folded"].tolist() == [False, True, True, True, True]
    assert table["bn_fused"].tolist() == [False, False, True, True, True]


def test_the_exported_model_tells_its_classes_and_takes_any_size(p2at):
    model = OnnxModel(p2at.folder / TARGETS[2], threads=1)
    assert tuple(model.classes) == CAMVID.classes
    assert model.colours == [list(colour) for colour in CAMVID_COLOURS]
    for size in ((64, 64), (75, 101), (33, 250)):
        assert model.logits(np.zeros((1, 3, *size), np.float32)).shape == (1, 11, *size)
    assert model.labels(np.zeros((31, 55, 3), np.uint8)).shape == (31, 55)


def test_a_folder_of_grey_rgba_and_odd_images_becomes_overlays_and_a_broken_one_is_counted(p2at, tmp_path):
    source = tmp_path / "pictures"
    source.mkdir()
    rgb = pictures(1, (53, 71))[0]
    Image.fromarray(rgb).save(source / "odd.png")
    Image.fromarray(rgb).convert("L").save(source / "grey.png")
    Image.fromarray(rgb).convert("RGBA").save(source / "alpha.png")
    (source / "broken.png").write_bytes((source / "odd.png").read_bytes()[:100])
    done = segment(p2at.folder / TARGETS[2], source, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["alpha.png", "grey.png", "odd.png"]
    labels = OnnxModel(p2at.folder / TARGETS[2], threads=1).labels(rgb)
    painted = np.array(CAMVID_COLOURS)[labels]
    overlay = np.array(Image.open(tmp_path / "out/odd.png"))
    assert np.abs(overlay - (rgb + painted) / 2).max() <= 1
    assert "skipped: " in done.stderr and "broken.png: truncated or not an image" in done.stderr
    assert "3 pictures, 1 skipped as unreadable" in done.stderr


def test_an_unreadable_frame_of_a_video_is_skipped_and_counted(p2at, tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for frame in pictures(6):
        writer.write(frame)
    writer.release()
    film = bytearray((tmp_path / "clip.avi").read_bytes())
    starts = [i for i in range(len(film)) if film[i : i + 4] == b"00dc" and film[i + 8 : i + 10] == b"\xff\xd8"]
    assert len(starts) == 6
    film[starts[3] + 8 : starts[4]] = bytes(starts[4] - starts[3] - 8)
    (tmp_path / "clip.avi").write_bytes(film)
    done = segment(p2at.folder / TARGETS[2], tmp_path / "clip.avi", tmp_path / "clip.mp4")
    assert done.returncode == 0, done.stderr
    assert "1 of 6 frames cannot be read" in done.stderr and "5 pictures, 1 skipped" in done.stderr
    assert cv2.VideoCapture(str(tmp_path / "clip.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 5


def test_what_cannot_be_segmented_is_refused_in_one_line(p2at, tmp_path):
    model, text = p2at.folder / TARGETS[2], tmp_path / "text.mp4"
    text.write_text("no video")
    (tmp_path / "empty").mkdir()
    for source, output, message in (
        (tmp_path / "nowhere.mp4", tmp_path / "out.mp4", "no such video or folder of images"),
        (text, tmp_path / "out.mp4", "no frame of it can be read"),
        (text, tmp_path / "out.avi", "videos are written as MP4"),
        (tmp_path / "empty", tmp_path / "out", "no images in it"),
    ):
        done = segment(model, source, output)
        assert done.returncode == 1 and not output.exists()
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1 and message in errors[0]
    done = segment(text, text, tmp_path / "out.mp4")
    assert "text.mp4: not a readable ONNX file" in done.stderr


@pytest.mark.parametrize(
    ("change", "first", "untouched"),
    [
        ("p2at={variants: {s: {lr: 0.5}}}", {"train_p2at": 1, "export_p2at": 1}, set()),
        ("p2at={network: {p2_concat: intended}}", {"train_p2at": 3}, set()),
        ("p2at={speed: {passes: 3}}", {"measure_speed": 1}, {"train_p2at", "export_p2at"}),
        ("export={images: 1}", {"export_p2at": 1}, {"train_p2at", "measure_speed"}),
    ],
)
def test_an_edit_reruns_what_is_built_on_it_and_nothing_else(p2at, change, first, untouched):
    planned = p2at.planned(*TARGETS, "--config", change)
    assert {rule: planned.get(rule) for rule in first} == first
    assert not untouched & set(planned)


def test_a_users_camvid_is_converted_and_the_table_names_its_labels(project, tmp_path):
    root = tmp_path / "SegNet"
    for split in ("train", "val", "test"):
        for folder, array in ((split, pictures(1)[0]), (f"{split}annot", np.full((48, 64), 11, np.uint8))):
            (root / folder).mkdir(parents=True)
            array[:, :32] = 3
            Image.fromarray(array).save(root / folder / f"{split}_1.png")
    project.run(
        "work/sample/camvid/splits/manifest.json", "--config", f"data={{camvid: {{root: {root}, val_split: test}}}}"
    )
    manifest = json.loads((project.folder / "work/sample/camvid/splits/manifest.json").read_text())
    assert manifest["val"]["labels"] == "SegNet ids, 64x48"
    assert manifest["val"]["published"] == "custom: 1 images, published 233"


def test_cityscapes_cannot_start_from_itself(project):
    message = project.fail("results/p2at_cityscapes_miou.csv", "--dry-run", "--config", "p2at={init: cityscapes}")
    assert message == "config: p2at.init is cityscapes for Cityscapes itself; set it to imagenet or none there"


def test_the_paper_starts_camvid_from_its_cityscapes(project):
    targets = ["results/p2at_camvid_miou.csv", "results/p2at_cityscapes_miou.csv", "results/p2at_voc_speed.csv"]
    planned = project.planned(*targets, "--config", "p2at={datasets: {camvid: {init: cityscapes}}}")
    assert planned["train_p2at"] == 12 and planned["measure_speed"] == 1

"""Functions of the stages that deploy networks: what is segmented, what is exported, what is timed."""

import hashlib
import json
import logging
import re

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from maskmill.commands import segment
from maskmill.data.catalog import CAMVID, CAMVID_COLOURS
from maskmill.data.images import UNREADABLE, read_image
from maskmill.errors import InputError
from maskmill.networks import deploy
from maskmill.networks.p2at import P2AT, PlainDecoder
from maskmill.storage.checkpoints import save_network
from maskmill.storage.onnx_models import OnnxModel
from p2at import measure_speed, train_p2at
from results import export_onnx


def same(image: np.ndarray) -> np.ndarray:
    return image


def film(path, frames: int, damaged: int | None = None) -> None:
    """Write frames of Motion JPEG, one after the other: such a file holds no number of frames."""
    rng, parts = np.random.default_rng(0), []
    for number in range(frames):
        part = bytearray(cv2.imencode(".jpg", rng.integers(0, 256, (48, 64, 3), np.uint8))[1].tobytes())
        if number == damaged:
            part[2:-2] = bytes(len(part) - 4)
        parts.append(bytes(part))
    path.write_bytes(b"".join(parts))


def test_a_bad_frame_ends_no_video_that_holds_no_number_of_frames(tmp_path, caplog):
    film(tmp_path / "clip.mjpeg", 20, damaged=7)
    with caplog.at_level(logging.WARNING):
        written, skipped = segment.segment_video(tmp_path / "clip.mjpeg", tmp_path / "clip.mp4", same)
    assert written == 19 and skipped in (0, 1)  # a decoder may drop it without a word
    assert cv2.VideoCapture(str(tmp_path / "clip.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 19
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mjpeg", "clip.mp4"]


def test_an_error_between_frames_leaves_nothing(tmp_path):
    film(tmp_path / "clip.mjpeg", 5)
    calls = iter(range(5))

    def failing(image):
        if next(calls) == 3:
            raise InputError("no more")
        return image

    with pytest.raises(InputError, match="no more"):
        segment.segment_video(tmp_path / "clip.mjpeg", tmp_path / "out/clip.mp4", failing)
    assert list((tmp_path / "out").iterdir()) == []


def test_background_shows_the_image_and_classes_their_colour(tmp_path, monkeypatch):
    class Network:
        classes, colours = ["background", "cat"], [[0, 0, 0], [200, 0, 0]]

        def __init__(self, *_):
            pass

        def labels(self, image, short_side):
            return np.eye(8, dtype=np.uint8)

    monkeypatch.setattr(segment, "OnnxModel", Network)
    (tmp_path / "in").mkdir()
    Image.new("RGB", (8, 8), (100, 100, 100)).save(tmp_path / "in/a.png")
    segment.main("m.onnx", str(tmp_path / "in"), str(tmp_path / "out"), opacity=0.5)
    shown = np.array(Image.open(tmp_path / "out/a.png"))
    assert (shown[np.eye(8) == 0] == 100).all() and (shown[np.eye(8) == 1] == (150, 50, 50)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"opacity": 60}, "--opacity: 60 lies outside 0..1; correct it"),
        ({"opacity": -0.1}, "--opacity: -0.1 lies outside 0..1; correct it"),
        ({"short_side": 0}, "--short-side: 0 pixels; give 1 or more"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        segment.main("m.onnx", "photos", "out", **options)


def test_images_of_one_stem_keep_their_suffix(tmp_path):
    for name in ("a.png", "a.jpg", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    assert segment.segment_folder(tmp_path, tmp_path / "out", same) == (3, 0)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jpg.png", "a.png.png", "b.png"]


def test_a_folder_without_a_readable_image_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="none of its 1 images can be read"):
        segment.segment_folder(tmp_path, tmp_path / "out", same)


def test_sixteen_bits_of_grey_are_scaled_and_not_clipped(tmp_path):
    grey = np.arange(0, 65536, 1024, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert (read_image(tmp_path / "grey.png") == (grey >> 8)[..., None]).all()


def test_a_picture_that_claims_to_be_huge_counts_as_unreadable():
    assert issubclass(Image.DecompressionBombError, UNREADABLE)


def small_p2at(num_classes: int) -> P2AT:
    torch.manual_seed(num_classes)
    return P2AT("sample_cnn", num_classes).eval()


def test_an_export_that_differs_from_its_network_is_refused(tmp_path, monkeypatch):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    (tmp_path / "ids.txt").write_text("a")
    monkeypatch.setattr(export_onnx, "read_index", lambda _: {"a": type("Record", (), {"image": tmp_path / "a.png"})})
    monkeypatch.setattr(export_onnx, "export_onnx", lambda network, path, about: path.write_bytes(b""))
    monkeypatch.setattr(export_onnx, "OnnxModel", lambda path, threads: None)
    monkeypatch.setattr(export_onnx, "compare", lambda *_: (99.98, 1.0))
    save_network(tmp_path / "network.safetensors", small_p2at(11))
    with pytest.raises(InputError, match=r"99.9800 % of the pixels of 1 images keep their class, not 99.99 %"):
        export_onnx.main(
            "camvid",
            "index.csv",
            str(tmp_path / "ids.txt"),
            str(tmp_path / "network.safetensors"),
            str(tmp_path / "m.onnx"),
            scale="sample",
            seed=0,
        )
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.slow
def test_an_exported_network_tells_what_it_takes_and_where_it_comes_from(tmp_path, monkeypatch):
    torch.manual_seed(0)
    network = PlainDecoder("sample_cnn_light", 11).eval()
    save_network(tmp_path / "network.safetensors", network)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "ids.txt").write_text("a")
    monkeypatch.setattr(export_onnx, "read_index", lambda _: {"a": type("Record", (), {"image": tmp_path / "a.png"})})
    files = {name: str(tmp_path / name) for name in ("ids.txt", "network.safetensors", "m.onnx")}
    export_onnx.main("camvid", "index.csv", *files.values(), scale="sample", seed=7, short_side=360, agreement=99)
    exported = OnnxModel(files["m.onnx"], threads=1)
    told = {key: json.loads(value) for key, value in exported.session.get_modelmeta().custom_metadata_map.items()}
    assert told == {
        **{"dataset": "camvid", "classes": list(CAMVID.classes), "colours": [list(c) for c in CAMVID_COLOURS]},
        **{"short_side": 360, "scale": "sample", "seed": 7},
        "checkpoint_sha256": hashlib.sha256((tmp_path / "network.safetensors").read_bytes()).hexdigest(),
        **{"layout": "NCHW", "colour_order": "RGB", "value_range": [0, 1], "includes_normalisation": True},
        **{"mean": list(network.backbone.mean), "std": list(network.backbone.std)},
    }
    for size in ((1, 3, 40, 51), (3, 3, 33, 64)):
        pixels = torch.rand(*size)
        with torch.inference_mode():
            expected = network((pixels - 0.5) / 0.5).numpy()
        np.testing.assert_allclose(exported.logits(pixels.numpy()), expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"pixels in 0\.\.255; give RGB in 0\.\.1"):
        exported.logits(np.array([0, 255] * 96, np.float32).reshape(1, 3, 8, 8))


def test_a_network_exported_for_one_size_gives_the_same_there(tmp_path):
    torch.manual_seed(0)
    network, pixels = PlainDecoder("sample_cnn_light", 11).eval(), torch.rand(1, 3, 40, 56)
    about = {"classes": [], "colours": [], "short_side": None}
    deploy.export_onnx(network, tmp_path / "m.onnx", about, only_size=(40, 56))
    exported = OnnxModel(tmp_path / "m.onnx", threads=1)
    assert exported.session.get_inputs()[0].shape == [1, 3, 40, 56]
    with torch.inference_mode():
        expected = network((pixels - 0.5) / 0.5).numpy()
    np.testing.assert_allclose(exported.logits(pixels.numpy()), expected, atol=1e-5)


def test_bfloat16_is_timed_where_the_device_has_it(tmp_path, monkeypatch):
    network, ran = small_p2at(11), []
    # On a device without a processor, which runs every type: the network of the run must fit its input.
    monkeypatch.setattr(measure_speed, "inference_device", lambda: torch.device("meta"))
    monkeypatch.setattr(measure_speed, "logits_of", lambda model, pixels: ran.append(model(pixels)))
    monkeypatch.setattr(measure_speed, "has_bfloat16", lambda device: True)
    run, facts = measure_speed.prepare(network, "bfloat16", [64, 64], 1, tmp_path)
    run()
    assert ran[0].dtype == torch.bfloat16 and ran[0].shape == (1, 11, 64, 64)
    assert facts["parameters_m"] > 0
    monkeypatch.setattr(measure_speed, "has_bfloat16", lambda device: False)
    assert measure_speed.prepare(network, "bfloat16", [64, 64], 1, tmp_path) is None


def test_a_machine_without_a_compiler_leaves_that_way_out(tmp_path, monkeypatch, caplog):
    def broken(model):
        def run(_):
            raise RuntimeError("no compiler")

        return run

    monkeypatch.setattr(torch, "compile", broken)
    with caplog.at_level(logging.WARNING):
        assert measure_speed.prepare(small_p2at(11), "compiled", [64, 64], 1, tmp_path) is None
    assert "compiled: left out, torch.compile fails here (no compiler)" in caplog.text


def test_classes_are_counted_without_ignored_pixels():
    class TwoMasks(dict):
        num_classes = 3

    masks = TwoMasks(a=np.array([[0, 0, 2, 255]], np.uint8), b=np.array([[2, 255, 255, 255]], np.uint8))
    assert train_p2at.class_pixels(masks).tolist() == [2, 0, 2]


def test_a_start_from_other_classes_takes_all_but_the_classifiers(tmp_path):
    other, model = small_p2at(19), small_p2at(11)
    save_network(tmp_path / "other.safetensors", other)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train_p2at.load_fitting(model, tmp_path / "other.safetensors")
    theirs = other.state_dict()
    for name, tensor in model.state_dict().items():
        fits = theirs[name].shape == tensor.shape
        assert torch.equal(tensor, theirs[name] if fits else before[name])
    fresh = [name for name in before if theirs[name].shape != before[name].shape]
    assert fresh and len(fresh) < len(before) / 4

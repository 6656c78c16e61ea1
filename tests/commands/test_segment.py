"""`maskmill segment` and `maskmill segment-open`: what they read of a folder, and what they refuse."""

import logging
import os
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from maskmill.commands import segment, segment_open
from maskmill.data.images import image_files, output_names
from maskmill.errors import InputError


def test_what_is_left_out_of_a_folder_is_counted_by_suffix(tmp_path, caplog):
    for name in ("a.png", "b.xyz", "c.xyz", "notes.txt", "README", "._a.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "more").mkdir()
    (tmp_path / "folder.png").mkdir()
    with caplog.at_level(logging.WARNING):
        assert [file.name for file in image_files(tmp_path)] == ["a.png"]
    assert caplog.messages == [f"left out: {tmp_path}: 1 without suffix, 2 .xyz, 2 folders, 1 .txt"]


def test_no_two_images_give_files_of_one_name(tmp_path):
    files = [tmp_path / name for name in ("a.png", "a.jpg", "a.png.png", "b.png")]
    assert list(output_names(files).values()) == ["a.png", "a.jpg", "a.png.png", "b.png"]
    assert list(output_names(files[:2] + files[3:]).values()) == ["a.png", "a.jpg", "b"]


def test_links_and_names_that_are_no_utf8_are_read_and_dead_links_counted(tmp_path):
    (tmp_path / "in").mkdir()
    odd = os.fsdecode(b"caf\xe9")
    Image.new("RGB", (8, 6)).save(tmp_path / f"in/{odd}.png")
    (tmp_path / "in/link.png").symlink_to(f"{odd}.png")
    (tmp_path / "in/dead.png").symlink_to("gone.png")
    assert segment.segment_folder(tmp_path / "in", tmp_path / "out", lambda image: image) == (2, 1)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{odd}.png", "link.png"}


def test_photographs_are_segmented_as_a_viewer_shows_them_and_conversions_are_counted(tmp_path, caplog):
    (tmp_path / "in").mkdir()
    ramp = np.arange(0, 240, 5, dtype=np.uint8).reshape(6, 8)
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was turned by a quarter to the left
    Image.fromarray(ramp).save(tmp_path / "in/phone.png", exif=turned)
    Image.fromarray(np.uint16(ramp) * 257).save(tmp_path / "in/deep.png")
    Image.fromarray(np.float32(ramp) / 255).save(tmp_path / "in/fractions.tif")
    Image.merge("LA", [Image.fromarray(ramp), Image.new("L", (8, 6))]).save(tmp_path / "in/clear.png")
    pictures = []
    with caplog.at_level(logging.INFO):
        written = segment.segment_folder(
            tmp_path / "in", tmp_path / "out", lambda image: pictures.append(image) or image
        )
    assert written == (4, 0)
    for image, expected in zip(pictures, (np.full((6, 8), 255), ramp, ramp, np.rot90(ramp, -1)), strict=True):
        assert (image == expected[..., None]).all()
    assert set(caplog.messages) == {
        "1 images turned upright, as EXIF says",
        "1 images with an alpha channel, laid on white",
        "1 images of 16 bits, scaled to 8 bits",
        "1 images of fractions of 0..1, scaled to 8 bits",
    }


def test_one_image_is_no_video(tmp_path, monkeypatch):
    monkeypatch.setattr(segment, "OnnxModel", lambda *_: SimpleNamespace(classes=["a"], colours=[[0, 0, 0]]))
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: is one image; give the folder that it lies in"):
        segment.main("m.onnx", str(tmp_path / "a.png"), str(tmp_path / "out.mp4"))
    with pytest.raises(InputError, match="--threads: -1; give 0 for all cores, or more"):
        segment.main("m.onnx", str(tmp_path), str(tmp_path / "out"), threads=-1)


def test_a_folder_without_a_readable_image_is_refused_by_both(tmp_path, monkeypatch):
    class Network(SimpleNamespace):
        def to(self, device):
            return self

    read = {"dim": 2, "patch_size": 16, "scale": 1, "describe": None}
    texts = {"tokenizer": lambda prompts: torch.tensor([[ord(sign) for sign in prompt] for prompt in prompts])}
    monkeypatch.setattr(segment_open, "load_open_vocabulary", lambda path: Network(**read))
    monkeypatch.setattr(segment_open, "load_texts", lambda path, teacher: Network(**read, **texts))
    monkeypatch.setattr(segment_open, "class_vectors", lambda *_: torch.eye(2))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="photos: none of its 1 images can be read; replace them"):
        segment_open.main("n.safetensors", str(tmp_path / "photos"), str(tmp_path / "out"), ["cat", "hat"])
    assert not (tmp_path / "out").exists()


def test_tables_bear_names_that_are_no_utf8(tmp_path):
    segment_open.save(tmp_path / "segments.csv", pd.DataFrame({"image": [os.fsdecode(b"caf\xe9.png"), "b.png"]}))
    assert pd.read_csv(tmp_path / "segments.csv")["image"].tolist() == ["caf\\udce9.png", "b.png"]


def test_overlays_show_background_as_it_is_and_classes_in_their_colour(tmp_path):
    image, labels = np.full((1, 2, 3), 100, np.uint8), np.array([[0, 1]], np.uint8)
    segment_open.write(tmp_path, "a", image, labels, 0.5)
    assert np.array(Image.open(tmp_path / "overlays/a.png")).tolist() == [[[100] * 3, [114, 50, 50]]]

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from maskmill.data.images import conversions, image_size, read_image, read_mask, resized
from maskmill.data.voc import write_mask
from maskmill.errors import InputError


def test_an_image_is_rgb_whatever_the_files_mode(tmp_path):
    Image.new("L", (5, 4), 7).save(tmp_path / "grey.png")
    image = read_image(tmp_path / "grey.png")
    assert image.dtype == np.uint8 and image.shape == (4, 5, 3)
    assert (image == 7).all()


def test_shrinking_averages_areas(tmp_path):
    blocks = np.kron(np.arange(12, dtype=np.uint8).reshape(3, 4) * 10, np.ones((4, 4), np.uint8))
    Image.fromarray(blocks).save(tmp_path / "blocks.png")
    assert read_image(tmp_path / "blocks.png", short_side=3)[..., 0].tolist() == blocks[::4, ::4].tolist()


@given(st.integers(1, 900), st.integers(1, 900), st.integers(1, 400))
def test_shrinking_never_enlarges_and_keeps_the_aspect(height, width, short_side):
    new = resized(height, width, short_side)
    assert min(new) == min(height, width, short_side)
    scale = min(new) / min(height, width)
    assert abs(new[0] - scale * height) <= 0.5 and abs(new[1] - scale * width) <= 0.5


def test_a_palette_mask_gives_ids_not_colours(tmp_path):
    mask = np.array([[0, 1, 20], [15, 255, 0]], dtype=np.uint8)
    write_mask(tmp_path / "mask.png", mask)
    assert Image.open(tmp_path / "mask.png").mode == "P"
    read = read_mask(tmp_path / "mask.png", 21)
    assert read.dtype == np.uint8 and read.tolist() == mask.tolist()


def test_a_grey_mask_gives_its_values(tmp_path):
    mask = np.array([[0, 20], [255, 3]], dtype=np.uint8)
    Image.fromarray(mask).save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png", 21).tolist() == mask.tolist()


def test_shrinking_a_mask_invents_no_ids(tmp_path):
    mask = np.random.default_rng([2]).choice([0, 7, 255], size=(40, 60)).astype(np.uint8)
    write_mask(tmp_path / "mask.png", mask)
    small = read_mask(tmp_path / "mask.png", 21, short_side=13)
    assert small.shape == (13, 20)
    assert set(np.unique(small)) <= {0, 7, 255}


@pytest.mark.parametrize("wrong", [21, 254])
def test_a_mask_id_out_of_range_is_one_line_with_file_id_and_fix(wrong, tmp_path):
    write_mask(tmp_path / "mask.png", np.array([[0, 1], [wrong, 255]], dtype=np.uint8))
    with pytest.raises(InputError) as error:
        read_mask(tmp_path / "mask.png", 21)
    message = str(error.value)
    assert str(tmp_path / "mask.png") in message and f"class id {wrong} " in message and "0..20" in message
    assert "correct" in message and "\n" not in message


def test_a_mask_in_colours_is_refused(tmp_path):
    Image.new("RGB", (3, 3)).save(tmp_path / "mask.png")
    with pytest.raises(InputError, match=r"mask.png: mask in mode RGB; save class ids"):
        read_mask(tmp_path / "mask.png", 21)


def test_a_truncated_jpeg_is_one_line_with_file_and_fix(tmp_path):
    pixels = np.random.default_rng([3]).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.jpg")
    whole = (tmp_path / "image.jpg").read_bytes()
    (tmp_path / "image.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError) as error:
        read_image(tmp_path / "image.jpg")
    message = str(error.value)
    assert str(tmp_path / "image.jpg") in message and "truncated" in message and "replace the file" in message
    assert "\n" not in message


def test_text_is_not_an_image(tmp_path):
    (tmp_path / "image.jpg").write_text("not found")
    with pytest.raises(InputError, match=r"image.jpg: truncated or not an image"):
        read_image(tmp_path / "image.jpg")


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent.jpg: no such image; restore it"):
        read_image(tmp_path / "absent.jpg")


def turned(path, orientation: int, mode: str = "RGB") -> np.ndarray:
    """Save a picture as a camera does that noted a turn; returns the upright pixels, uint8 [8, 6(, 3)]."""
    upright = np.zeros((8, 6, 3), np.uint8)
    upright[:4, :3] = 200
    stored = {6: np.rot90(upright), 3: upright[::-1, ::-1], 8: np.rot90(upright, -1)}[orientation]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).convert(mode).save(path, exif=exif, quality=100)
    return upright if mode == "RGB" else upright[..., 0]


@pytest.mark.parametrize("orientation", [3, 6, 8])
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_an_image_is_upright_as_exif_says(suffix, orientation, tmp_path):
    path = tmp_path / f"photo.{suffix}"
    upright = turned(path, orientation)
    image = read_image(path)
    assert image.shape == upright.shape and image_size(path) == (8, 6)
    assert np.abs(image.astype(int) - upright).mean() < 20, "other corners are bright"
    assert conversions(path) == ["turned upright, as EXIF says"]


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0no TIFF at all", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12", b"\xff"]
)
@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_broken_exif_leaves_a_sound_image_as_it_is(exif, suffix, tmp_path):
    path = tmp_path / f"photo.{suffix}"
    Image.new("RGB", (6, 8), (200, 0, 0)).save(path, exif=exif)
    assert read_image(path).shape == (8, 6, 3) and image_size(path) == (8, 6) and conversions(path) == []


@pytest.mark.parametrize("orientation", [0, 1, 9])
def test_an_orientation_that_exif_does_not_know_turns_nothing(orientation, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.new("RGB", (6, 8)).save(tmp_path / "photo.jpg", exif=exif)
    assert read_image(tmp_path / "photo.jpg").shape == (8, 6, 3) and conversions(tmp_path / "photo.jpg") == []


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_mask_is_upright_too(suffix, tmp_path):
    upright = turned(tmp_path / f"mask.{suffix}", 6, "L")
    assert read_mask(tmp_path / f"mask.{suffix}", 201).tolist() == upright.tolist()


@pytest.mark.parametrize(
    ("values", "read", "range_"),
    [
        (np.array([[0, 4095, 2048]], np.uint16), [0, 255, 128], "12 bits"),
        (np.array([[0, 65535, 32768]], np.uint16), [0, 255, 128], "16 bits"),
        (np.array([[0, 200, 7]], np.uint16), [0, 200, 7], "8 bits"),
        (np.array([[0, 255, 128]], np.int32), [0, 255, 128], "8 bits"),
        (np.array([[0, 2**31 - 1, 2**30]], np.int32), [0, 255, 128], "31 bits"),
        (np.array([[0, 1, 0.5]], np.float32), [0, 255, 128], "fractions of 0..1"),
        (np.array([[0, 255, 128]], np.float32), [0, 255, 128], "8 bits"),
    ],
)
def test_values_of_more_than_8_bits_are_scaled_by_their_range(values, read, range_, tmp_path):
    Image.fromarray(values).save(tmp_path / "deep.tif")
    assert read_image(tmp_path / "deep.tif")[0].tolist() == [[value] * 3 for value in read]
    assert conversions(tmp_path / "deep.tif") == [f"of {range_}, scaled to 8 bits"]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_colours_of_12_bits_in_16_are_not_read_as_black(suffix, tmp_path):
    path = tmp_path / f"colour.{suffix}"
    cv2.imwrite(str(path), np.array([[[0, 2048, 4095]]], np.uint16))  # blue, green, red
    assert read_image(path).tolist() == [[[255, 128, 0]]]
    assert conversions(path) == ["of 12 bits, scaled to 8 bits"]


@pytest.mark.parametrize("values", [[-1.0, 0.5], [0.5, 1.7], [0.5, np.nan]])
def test_values_of_no_known_range_are_refused(values, tmp_path):
    Image.fromarray(np.array([values], np.float32)).save(tmp_path / "deep.tif")
    with pytest.raises(InputError, match=r"deep.tif: values from .* in float32, whose range is not known; save the im"):
        read_image(tmp_path / "deep.tif")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_lie_on_white(mode, tmp_path):
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (50, 50, 50, 255))
    image.convert(mode).save(tmp_path / "logo.png")
    assert read_image(tmp_path / "logo.png")[0].tolist() == [[255] * 3, [50] * 3]
    assert conversions(tmp_path / "logo.png") == ["with an alpha channel, laid on white"]


def test_the_first_of_several_frames_is_read(tmp_path):
    frames = [Image.new("RGB", (3, 2), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "film.gif")[0, 0].tolist() == [255, 0, 0]
    assert conversions(tmp_path / "film.gif") == ["with several frames, of which the first is read"]


def test_nothing_is_said_of_a_plain_photograph(tmp_path):
    Image.new("RGB", (5, 4)).save(tmp_path / "plain.jpg")
    assert conversions(tmp_path / "plain.jpg") == []


def test_a_panorama_is_read_and_what_is_too_large_is_refused_with_the_limit(tmp_path, monkeypatch):
    assert Image.MAX_IMAGE_PIXELS > 200e6
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1e6)
    Image.new("1", (2000, 1001)).save(tmp_path / "large.png")
    for read in (read_image, image_size, conversions):
        with pytest.raises(InputError, match=r"large.png: more than 2 million pixels, the limit; shrink or cut it$"):
            read(tmp_path / "large.png")


def test_a_file_without_permission_is_not_called_damaged(tmp_path, monkeypatch):
    def refuse(path, mode):
        raise PermissionError(13, "Permission denied", str(path))  # chmod does not stop root, who may run the tests

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"image.jpg: may not be read by you; change its permissions and run again$"):
        read_image(tmp_path / "image.jpg")


def test_a_negative_mask_id_is_refused(tmp_path):
    Image.fromarray(np.array([[0, -1]], np.int32)).save(tmp_path / "mask.tif")
    with pytest.raises(InputError, match=r"mask.tif: class id -1 is out of range 0..20"):
        read_mask(tmp_path / "mask.tif", 21)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from maskmill.data.images import read_image, read_mask, resized
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

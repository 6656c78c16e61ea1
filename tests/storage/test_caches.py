import numpy as np
import pytest

from maskmill.errors import InputError
from maskmill.storage.caches import open_cache
from maskmill.storage.maps import create_maps


@pytest.fixture
def cache(tmp_path):
    """Labels of images a and b from a teacher, at a working size of 32; the store's path and the teacher's."""
    teacher = tmp_path / "teacher"
    teacher.write_bytes(b"first")
    origin = {"producer": "cache_teacher", "parameters": {"short_side": 32}, "inputs": [teacher]}
    with create_maps(tmp_path / "labels.h5", "label", **origin) as store:
        for image_id in "ab":
            store.write(image_id, np.full((2, 2), ord(image_id), np.uint8))
    return tmp_path / "labels.h5", teacher


def test_a_cache_serves_trainings_on_its_images_or_on_some_of_them(cache):
    for ids in ("ab", "b"):
        assert open_cache(*cache, ids, 32)["b"][0, 0] == ord("b")


@pytest.mark.parametrize(
    ("ids", "short_side", "message"),
    [
        ("adbc", 32, r"has no map of image c \(2 such\); delete it and run snakemake"),
        ("ab", 48, "was made at short_side 32, not 48; delete it and run snakemake"),
        ("ab", None, "was made at short_side 32, not null; delete it and run snakemake"),
    ],
)
def test_a_cache_of_other_images_or_of_another_working_size_is_refused(cache, ids, short_side, message):
    with pytest.raises(InputError, match=rf"labels\.h5: {message}"):
        open_cache(*cache, ids, short_side)


def test_a_cache_of_another_teacher_is_refused(cache):
    path, teacher = cache
    teacher.write_bytes(b"second")
    with pytest.raises(InputError, match=r"labels\.h5: was not made with .*teacher as it is now"):
        open_cache(path, teacher, "ab", 32)

import numpy as np
import pytest

from maskmill.errors import InputError
from maskmill.storage.caches import BATCH_STORES, batch_name, create_batches, open_batches, open_cache, read_batches
from maskmill.storage.maps import create_maps


@pytest.fixture
def cache(tmp_path):
    """Labels of images a and b from a teacher, at a working size of 32; the store's path and the teacher's."""
    teacher = tmp_path / "teacher"
    teacher.write_bytes(b"first")
    origin = {"producer": "cache_labels", "parameters": {"short_side": 32}, "inputs": [teacher]}
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


STREAM = {"seed": 3, "batch_size": 2, "cutmix": {"boxes": 1}, "min_confidence": 0}


@pytest.fixture
def batches(tmp_path):
    """A teacher's outputs for the first three batches; the store's path, and the files that it was made from."""
    files = [tmp_path / name for name in ("teacher", "labelled.txt", "unlabelled.txt")]
    for file in files:
        file.write_text(file.name)
    origin = {"producer": "cache_batches", "parameters": STREAM, "inputs": files}
    with create_maps(tmp_path / "labels.h5", "batch_label", **origin) as store:
        for iteration in range(3):
            store.write(batch_name(iteration), np.full((2, 2, 4, 4), iteration, np.uint8))
    return tmp_path / "labels.h5", files


def test_batches_serve_trainings_that_are_as_long_or_shorter(batches):
    for iterations in (2, 3):
        store = open_batches(*batches, STREAM, iterations)
        assert [store[batch_name(i)].max() for i in range(iterations)] == list(range(iterations))


@pytest.mark.parametrize(
    ("change", "iterations", "message"),
    [
        ({}, 5, r"has no batch of iteration 3 \(2 of 5 lack\); delete it and run snakemake"),
        ({"seed": 4}, 3, "was made with seed 3, not 4; delete it and run snakemake"),
        ({"cutmix": None}, 3, r'was made with cutmix {"boxes": 1}, not null; delete it and run snakemake'),
        ({"pairing": "same"}, 3, 'was made with pairing null, not "same"; delete it and run snakemake'),
    ],
)
def test_batches_of_another_training_are_refused(batches, change, iterations, message):
    with pytest.raises(InputError, match=rf"labels\.h5: {message}"):
        open_batches(*batches, STREAM | change, iterations)


@pytest.mark.parametrize("name", ["teacher", "labelled.txt", "unlabelled.txt"])
def test_batches_of_another_teacher_or_other_images_are_refused(batches, name):
    path, files = batches
    (path.parent / name).write_text("another")
    with pytest.raises(InputError, match=rf"labels\.h5: was not made with .*{name} as it is now"):
        open_batches(path, files, STREAM, 3)


def test_all_stores_of_batches_are_read_together(tmp_path):
    lists, teachers = [tmp_path / "labelled.txt", tmp_path / "unlabelled.txt"], {}
    for name in ("wide", "deep"):
        teachers[name] = tmp_path / name
    for file in (*lists, *teachers.values()):
        file.write_text(file.name)
    paths = {name: tmp_path / f"{name}.h5" for name in BATCH_STORES}
    with create_batches(paths, teachers, lists, STREAM) as stores:
        for iteration in range(2):
            for number, store in enumerate(stores.values()):
                store.write(batch_name(iteration), np.full((2, 3), 10 * number + iteration, np.uint8))
    batch_of = read_batches(paths.values(), teachers, lists, STREAM, 2)
    assert {name: int(array.max()) for name, array in batch_of(1).items()} == dict(
        zip(BATCH_STORES, (1, 11, 21, 31), strict=True)
    )
    teachers["deep"].write_text("another")
    with pytest.raises(InputError, match=r"deep_labels\.h5: was not made with .*deep as it is now"):
        read_batches(paths.values(), teachers, lists, STREAM, 2)

import json
import os
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from maskmill.errors import InputError
from maskmill.storage.maps import Maps, check_origin, copy_maps, create_maps, merge_maps, open_maps, sha256

LABEL = np.array([[0, 8, 255]], dtype=np.uint8)


def make_store(path, maps, kind="label", **origin):
    with create_maps(path, kind, producer="test", **origin) as store:
        for image_id, array in maps.items():
            store.write(image_id, array)
    return path


@settings(deadline=None, max_examples=25)
@given(array=st.sampled_from(["u1", "f2", "f4"]).flatmap(lambda t: arrays(t, array_shapes(max_dims=3, min_side=0))))
def test_a_map_reads_back_as_it_was_written(array, tmp_path_factory):
    path = make_store(tmp_path_factory.mktemp("maps") / "a.h5", {"2007_000032": array}, kind="features")
    with open_maps(path) as maps:
        assert maps["2007_000032"].dtype == array.dtype
        np.testing.assert_array_equal(maps["2007_000032"], array)


def test_a_store_is_a_mapping_that_knows_its_origin(tmp_path):
    (tmp_path / "weights").write_bytes(b"weights")
    inputs = [tmp_path / "weights"]
    with create_maps(tmp_path / "a.h5", "cam", producer="cams", parameters={"scales": [1, 2]}, inputs=inputs) as store:
        store.write("b", np.ones((2, 3, 4), np.float16), classes=[8, 15])
        store.write("a", np.zeros((1, 3, 4), np.float16), classes=[20])
    maps = open_maps(tmp_path / "a.h5")
    assert sorted(maps) == ["a", "b"] and len(maps) == 2
    assert "a" in maps and "c" not in maps
    assert maps.attributes_of("b")["classes"].tolist() == [8, 15]
    assert maps.kind == "cam" and maps.attributes["producer"] == "cams"
    assert json.loads(maps.attributes["parameters"]) == {"scales": [1, 2]}
    # printf weights | sha256sum
    digest = "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
    assert json.loads(maps.attributes["inputs"]) == {str(tmp_path / "weights"): digest}
    assert sha256(tmp_path / "weights") == digest
    with pytest.raises(KeyError, match="no map for image 'c'"):
        maps["c"]


def test_an_unknown_kind_is_refused(tmp_path):
    with (
        pytest.raises(ValueError, match="unknown kind of map 'heatmap'"),
        create_maps(tmp_path / "a.h5", "heatmap", producer="test"),
    ):
        pass


def test_an_error_while_writing_leaves_nothing(tmp_path):
    with (
        pytest.raises(RuntimeError, match="out of memory"),
        create_maps(tmp_path / "a.h5", "label", producer="test") as store,
    ):
        store.write("a", LABEL)
        raise RuntimeError("out of memory")
    assert os.listdir(tmp_path) == []


def refused(path) -> str:
    with pytest.raises(InputError) as error:
        open_maps(path)
    message = str(error.value)
    assert str(path) in message and "\n" not in message
    return message


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.99])
def test_a_cut_off_store_is_one_line_with_file_and_fix(part, tmp_path):
    noise = np.random.default_rng([4]).integers(0, 256, (64, 64), dtype=np.uint8)
    path = make_store(tmp_path / "a.h5", {str(number): noise for number in range(8)})
    os.truncate(path, int(part * path.stat().st_size))
    assert "delete it and run again" in refused(path)


def test_an_unfinished_store_is_refused(tmp_path):
    path = make_store(tmp_path / "a.h5", {"a": LABEL})
    with h5py.File(path, "a") as file:
        del file.attrs["complete"]
    assert "unfinished" in refused(path)


def test_another_hdf5_file_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = [1, 2, 3]
    assert "delete it" in refused(tmp_path / "a.h5")


def test_a_store_made_from_another_version_of_a_file_is_refused(tmp_path):
    checkpoint = tmp_path / "network"
    checkpoint.write_bytes(b"first")
    with create_maps(tmp_path / "a.h5", "label", producer="test", inputs=[checkpoint]) as store:
        store.write("a", LABEL)
    check_origin(open_maps(tmp_path / "a.h5"), checkpoint)
    checkpoint.write_bytes(b"second")
    with pytest.raises(InputError, match=r"a\.h5: was not made with .*network as it is now"):
        check_origin(open_maps(tmp_path / "a.h5"), checkpoint)


def test_a_store_of_another_schema_is_refused(tmp_path):
    path = make_store(tmp_path / "a.h5", {"a": LABEL})
    with h5py.File(path, "a") as file:
        file.attrs["schema"] = 99
    assert "schema 99" in refused(path)


def test_a_missing_store_is_refused(tmp_path):
    assert "no such map store" in refused(tmp_path / "a.h5")


def test_merged_shards_read_as_one_store_and_copy_nothing(tmp_path):
    noise = np.random.default_rng([5]).integers(0, 256, (200, 200), dtype=np.uint8)
    shards = [make_store(tmp_path / f"shards/{n}.h5", {f"a{n}": noise, f"b{n}": LABEL}) for n in range(2)]
    merge_maps(shards, tmp_path / "all.h5")
    with open_maps(tmp_path / "all.h5") as maps:
        assert sorted(maps) == ["a0", "a1", "b0", "b1"] and maps.kind == "label"
        np.testing.assert_array_equal(maps["a1"], noise)
    assert (tmp_path / "all.h5").stat().st_size < noise.nbytes / 2


def test_a_merged_store_survives_moving_its_folder(tmp_path):
    shards = [make_store(tmp_path / f"old/shards/{n}.h5", {str(n): LABEL}) for n in range(2)]
    merge_maps(shards, tmp_path / "old/all.h5")
    shutil.move(tmp_path / "old", tmp_path / "new")
    with open_maps(tmp_path / "new/all.h5") as maps:
        assert [maps[str(n)].tolist() for n in range(2)] == [LABEL.tolist()] * 2


def test_a_merged_store_that_came_alone_says_what_to_copy(tmp_path):
    merge_maps([make_store(tmp_path / "old/shards/1.h5", {"a": LABEL})], tmp_path / "old/all.h5")
    (tmp_path / "new").mkdir()
    shutil.copy(tmp_path / "old/all.h5", tmp_path / "new")
    message = refused(tmp_path / "new/all.h5")
    assert message.startswith(f"{tmp_path}/new/shards/1.h5: no such shard, and {tmp_path}/new/all.h5 only refers to it")
    assert "copy the shards to the same place beside the store" in message
    assert "`maskmill export --maps all.h5 --store whole.h5`" in message


def test_a_shard_that_did_not_come_along_is_named_when_it_is_read(tmp_path):
    shards = [make_store(tmp_path / f"shards/{n}.h5", {str(n): LABEL}) for n in range(2)]
    merge_maps(shards, tmp_path / "all.h5")
    shards[1].unlink()
    with open_maps(tmp_path / "all.h5") as maps:
        assert maps["0"].tolist() == LABEL.tolist()
        for read in (maps.__getitem__, maps.attributes_of):
            with pytest.raises(InputError, match=r"shards/1.h5: no such shard, and .*all.h5 only refers to it; copy"):
                read("1")


def test_a_store_alone_does_not_read_shards_of_the_current_folder(tmp_path, monkeypatch):
    for run in ("one", "two"):
        merge_maps([make_store(tmp_path / f"{run}/shards/1.h5", {"a": LABEL})], tmp_path / f"{run}/all.h5")
    shutil.rmtree(tmp_path / "one/shards")
    monkeypatch.chdir(tmp_path / "two")
    assert "no such shard" in refused(tmp_path / "one/all.h5")


def test_a_link_to_a_merged_store_reads_its_shards(tmp_path):
    merge_maps([make_store(tmp_path / "run/shards/1.h5", {"a": LABEL})], tmp_path / "run/all.h5")
    (tmp_path / "link.h5").symlink_to(tmp_path / "run/all.h5")
    with open_maps(tmp_path / "link.h5") as maps:
        assert maps["a"].tolist() == LABEL.tolist()


def test_a_copy_in_one_file_has_all_maps_attributes_and_inputs_of_the_shards(tmp_path):
    shards = []
    for n in range(2):
        (tmp_path / f"input{n}").write_bytes(bytes([n]))
        shards.append(tmp_path / f"shards/input{n}")
        with create_maps(shards[n], "cam", producer="cams", inputs=[tmp_path / f"input{n}"]) as store:
            store.write(f"a{n}", np.full((1, 2, 3), n, np.float16), classes=[n + 1])
    merge_maps(shards, tmp_path / "all.h5")
    copy_maps(open_maps(tmp_path / "all.h5"), tmp_path / "whole.h5")
    shutil.rmtree(tmp_path / "shards")
    with open_maps(tmp_path / "whole.h5") as maps:
        assert list(maps.files) == [tmp_path / "whole.h5"]
        assert maps.kind == "cam" and maps.attributes["producer"] == "cams" and maps.attributes["complete"]
        assert [maps[f"a{n}"].tolist() for n in range(2)] == [[[[float(n)] * 3] * 2] for n in range(2)]
        assert [maps.attributes_of(f"a{n}")["classes"].tolist() for n in range(2)] == [[1], [2]]
        for n in range(2):
            check_origin(maps, tmp_path / f"input{n}")


def test_shards_of_different_kinds_do_not_merge(tmp_path):
    shards = [
        make_store(tmp_path / "0.h5", {"a": LABEL}, kind="label"),
        make_store(tmp_path / "1.h5", {"b": LABEL}, kind="logits"),
    ]
    with pytest.raises(InputError, match=r"1.h5: holds logits maps, the other shards label"):
        merge_maps(shards, tmp_path / "all.h5")
    assert sorted(os.listdir(tmp_path)) == ["0.h5", "1.h5"]


def test_shards_of_different_teachers_or_parameters_do_not_merge(tmp_path):
    teacher, first, second = tmp_path / "teacher", tmp_path / "0.h5", tmp_path / "1.h5"
    teacher.write_bytes(b"one")
    make_store(first, {"a": LABEL}, inputs=[teacher], parameters={"flip": True})
    teacher.write_bytes(b"another")
    make_store(second, {"b": LABEL}, inputs=[teacher], parameters={"flip": True})
    with pytest.raises(InputError, match=r"1.h5: was made from other inputs than .*0.h5; delete both"):
        merge_maps([first, second], tmp_path / "all.h5")
    make_store(first, {"a": LABEL}, inputs=[teacher], parameters={"flip": False})
    with pytest.raises(InputError, match=r"1.h5: was made with other parameters than .*0.h5; delete both"):
        merge_maps([first, second], tmp_path / "all.h5")
    assert not (tmp_path / "all.h5").exists()


def test_shards_made_from_shards_merge(tmp_path):
    for folder in ("logits", "labels"):
        (tmp_path / folder).mkdir()
    (tmp_path / "teacher").write_bytes(b"one")
    for number in range(2):
        source = make_store(tmp_path / f"logits/{number}.h5", {str(number): LABEL}, kind="logits")
        make_store(tmp_path / f"labels/{number}.h5", {str(number): LABEL}, inputs=[source, tmp_path / "teacher"])
    merge_maps([tmp_path / f"labels/{number}.h5" for number in range(2)], tmp_path / "all.h5")
    check_origin(open_maps(tmp_path / "all.h5"), tmp_path / "teacher")


def test_shards_with_a_common_image_do_not_merge(tmp_path):
    shards = [make_store(tmp_path / f"{n}.h5", {"a": LABEL}) for n in range(2)]
    with pytest.raises(InputError, match=r"1.h5: image a is in another shard too"):
        merge_maps(shards, tmp_path / "all.h5")
    assert not (tmp_path / "all.h5").exists()


@pytest.mark.slow
def test_a_flipped_byte_is_detected_on_read_and_the_shard_named(tmp_path):
    """For any flipped byte, either all data is unchanged or one line names the shard and the fix."""
    noise = np.random.default_rng([6]).integers(0, 256, (20, 20), dtype=np.uint8)
    shards = [tmp_path / f"{number}.h5" for number in range(2)]
    for number, shard in enumerate(shards):
        with create_maps(shard, "label", producer="test") as store:
            store.write(f"a{number}", noise, classes=[3, 7])
    merge_maps(shards, tmp_path / "all.h5")
    whole, noticed = shards[1].read_bytes(), 0
    for position in range(0, len(whole), 23):
        shards[1].write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        with open_maps(tmp_path / "all.h5") as maps:
            np.testing.assert_array_equal(maps["a0"], noise)
            try:
                np.testing.assert_array_equal(maps["a1"], noise)
                assert maps.attributes_of("a1")["classes"].tolist() == [3, 7]
            except InputError as error:
                message, noticed = str(error), noticed + 1
                assert message.startswith(f"{shards[1]}: ") and "damaged" in message
                assert message.endswith(f"delete {shards[1]} and {tmp_path}/all.h5 and run again")
                assert "\n" not in message
    assert noticed > 20


def test_a_flipped_byte_in_what_describes_a_store_is_detected_when_it_is_opened(tmp_path):
    path = make_store(tmp_path / "a.h5", {"a": LABEL})
    whole = path.read_bytes()
    position = whole.index(b"producer")
    path.write_bytes(whole[:position] + b"P" + whole[position + 1 :])
    assert "damaged" in refused(path)


def read_all(path, times):
    with open_maps(path) as maps:
        return [int(maps[image_id].sum()) for _ in range(times) for image_id in maps]


@pytest.mark.slow
def test_eight_processes_read_one_store_at_once(tmp_path):
    """Each process opens the store itself, also where the parent had opened it before the fork."""
    values = np.random.default_rng([7]).integers(0, 256, (12, 40, 40), dtype=np.uint8)
    shards = [make_store(tmp_path / f"{n}.h5", {f"{n}{m}": values[4 * n + m] for m in range(4)}) for n in range(3)]
    merge_maps(shards, tmp_path / "all.h5")
    expected = values.reshape(12, -1).sum(axis=1).tolist() * 20
    parent = open_maps(tmp_path / "all.h5")
    first = parent["00"].tolist()
    with ProcessPoolExecutor(8, mp_context=get_context("fork")) as pool:
        alone = [pool.submit(read_all, tmp_path / "all.h5", 20) for _ in range(8)]
        shared = [pool.submit(read_in_worker, parent, "00") for _ in range(8)]
        assert all(result.result() == expected for result in alone)
        assert all(result.result() == first for result in shared)


def read_in_worker(maps: Maps, image_id: str) -> list:
    return maps[image_id].tolist()


def test_an_open_store_can_be_sent_to_a_worker_process(tmp_path):
    maps = open_maps(make_store(tmp_path / "a.h5", {"a": LABEL}))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(read_in_worker, maps, "a").result() == LABEL.tolist()
    assert maps["a"].tolist() == LABEL.tolist()
    assert len(pickle.dumps(maps)) < 1_000

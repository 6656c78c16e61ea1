import hashlib
import os

import pytest
import torch

from data import prepare_weights
from maskmill.data.download import described
from maskmill.errors import InputError
from maskmill.networks.weights import WEIGHTS, Weights, convert
from maskmill.storage.checkpoints import load_tensors


class Command:
    """Runs a shell command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_pickle_that_holds_code_is_refused_in_one_line(tmp_path):
    torch.save({"conv.weight": torch.ones(2), "other": Command(tmp_path / "run")}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"a\.pth: not weights that can be read without running code") as error:
        convert("resnet18", tmp_path / "a.pth")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("part", [0.0, 0.5])
def test_a_broken_file_is_one_line(tmp_path, part):
    torch.save({"conv.weight": torch.ones(200)}, tmp_path / "a.pth")
    os.truncate(tmp_path / "a.pth", int(part * (tmp_path / "a.pth").stat().st_size))
    with pytest.raises(InputError, match=r"a\.pth: not weights") as error:
        convert("resnet18", tmp_path / "a.pth")
    assert "\n" not in str(error.value)


def test_something_else_than_tensors_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"a\.pth: holds something other than named tensors"):
        convert("resnet18", tmp_path / "a.pth")


@pytest.fixture
def published(refused_url, tmp_path, monkeypatch):
    """The bytes of weights of resnet18 whose server cannot be reached, and the path where they are looked for."""
    torch.save({"conv.weight": torch.ones(2)}, tmp_path / "a.pth")
    data = (tmp_path / "a.pth").read_bytes()
    monkeypatch.setitem(WEIGHTS, "resnet18", Weights(refused_url, hashlib.sha256(data).hexdigest()[:8]))
    monkeypatch.setattr(prepare_weights, "download", lambda *given: DOWNLOAD(*given, attempts=1, pause=0))
    return data, tmp_path / "weights/published/file.jpg"


DOWNLOAD = prepare_weights.download


def test_weights_that_lie_at_their_place_need_no_network(published, tmp_path):
    data, place = published
    place.parent.mkdir(parents=True)
    place.write_bytes(data)
    prepare_weights.main("resnet18", str(tmp_path / "weights/resnet18.safetensors"))
    tensors, header = load_tensors(tmp_path / "weights/resnet18.safetensors")
    assert tensors["conv.weight"].tolist() == [1, 1] and header["network"] == "resnet18"
    assert place.read_bytes() == data


def test_weights_that_cannot_be_fetched_are_put_at_a_place_that_stays(published, tmp_path):
    _, place = published
    for lies_there in (None, b"another file"):
        if lies_there:
            place.write_bytes(lies_there)
        with pytest.raises(InputError) as error:
            prepare_weights.main("resnet18", str(tmp_path / "weights/resnet18.safetensors"))
        message = str(error.value)
        assert message.startswith(f"{place}: cannot be downloaded from http://127.0.0.1") and "put it there" in message
        assert ("the file that lies there has the checksum sha256:" in message) == bool(lies_there)
    assert place.read_bytes() == b"another file"


def test_part_of_a_download_stays_at_the_place_for_the_next_call(published, tmp_path):
    data, place = published
    partial = place.with_name("file.jpg.partial")
    place.parent.mkdir(parents=True)
    partial.write_bytes(data[:100])
    with pytest.raises(InputError):
        prepare_weights.main("resnet18", str(tmp_path / "weights/resnet18.safetensors"))
    assert partial.read_bytes() == data[:100]


@pytest.mark.parametrize(
    ("checksum", "known"),
    [
        ("md5:" + "a" * 32, "md5 " + "a" * 32),
        ("sha256:19c8", "sha256 19c8..."),
        ("sha256:", "no checksum is published"),
    ],
)
def test_a_plan_tells_address_place_and_checksum(checksum, known):
    line = described(["https://a/b", "https://c/b"], "downloads/b", checksum)
    assert line == f"Download https://a/b or https://c/b to downloads/b ({known})"

import os
import pickle

import pytest
import torch
from torch import nn

from maskmill.errors import InputError
from maskmill.storage.checkpoints import load_network, load_tensors, read_header, save_network, save_tensors


class Head(nn.Module):
    def __init__(self, classes: int, bias: bool = True):
        super().__init__()
        self.arguments = {"classes": classes, "bias": bias}
        self.layer = nn.Linear(3, classes, bias=bias)
        self.norm = nn.BatchNorm1d(classes)

    def forward(self, x):
        return self.norm(self.layer(x))


class OtherHead(Head):
    pass


def one_line(error, path) -> str:
    message = str(error.value)
    assert str(path) in message and "\n" not in message
    return message


def test_a_network_is_rebuilt_from_its_file_alone(tmp_path):
    network = Head(5, bias=False)
    x = torch.linspace(-1, 1, 12).reshape(4, 3)
    network(x)  # moves the batch-norm statistics
    save_network(tmp_path / "head.safetensors", network)
    loaded = load_network(tmp_path / "head.safetensors", Head)
    assert loaded.arguments == {"classes": 5, "bias": False}
    assert not loaded.training
    assert torch.equal(loaded(x), network.eval()(x))


def test_tensors_and_header_read_back(tmp_path):
    shared = torch.arange(6, dtype=torch.float16).reshape(2, 3)
    tensors = {"a": shared, "transposed": shared.T, "count": torch.tensor(7)}
    save_tensors(tmp_path / "a.safetensors", tensors, {"step": 3, "name": "x"})
    loaded, header = load_tensors(tmp_path / "a.safetensors")
    assert header == {"step": 3, "name": "x"}
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    save_network(tmp_path / "head.safetensors", Head(2))
    with pytest.raises(InputError) as error:
        load_network(tmp_path / "head.safetensors", OtherHead)
    assert "holds a Head, not a OtherHead" in one_line(error, tmp_path / "head.safetensors")


@pytest.mark.parametrize("part", [0.0, 0.05, 0.5, 0.99])
def test_a_cut_off_checkpoint_is_one_line_with_file_and_fix(part, tmp_path):
    path = tmp_path / "head.safetensors"
    save_network(path, Head(50))
    os.truncate(path, int(part * path.stat().st_size))
    with pytest.raises(InputError) as error:
        load_network(path, Head)
    assert "delete it and run again" in one_line(error, path)


def test_a_missing_checkpoint_is_refused(tmp_path):
    with pytest.raises(InputError) as error:
        load_tensors(tmp_path / "absent.safetensors")
    assert "no such checkpoint" in one_line(error, tmp_path / "absent.safetensors")


class Bomb:
    def __reduce__(self):
        return os.mkdir, (self.folder,)

    def __init__(self, folder):
        self.folder = folder


def test_a_pickle_is_refused_and_not_run(tmp_path):
    path = tmp_path / "head.safetensors"
    path.write_bytes(pickle.dumps(Bomb(str(tmp_path / "ran"))))
    with pytest.raises(InputError):
        load_tensors(path)
    assert not (tmp_path / "ran").exists()


def test_header_is_read_without_the_tensors(tmp_path):
    save_network(tmp_path / "head", Head(4))
    assert read_header(tmp_path / "head") == {"network": "Head", "arguments": {"classes": 4, "bias": True}}
    with pytest.raises(InputError, match="no such checkpoint"):
        read_header(tmp_path / "none")

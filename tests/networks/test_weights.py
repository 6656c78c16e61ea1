import os
import re
from pathlib import Path

import pytest
import torch

from maskmill.errors import InputError
from maskmill.networks.weights import WEIGHTS, convert


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


def test_the_rules_know_which_weights_are_published():
    text = (Path(__file__).resolve().parents[2] / "rules/common.smk").read_text()
    names = re.search(r"^PUBLISHED = \((.*?)^\)", text, re.DOTALL | re.MULTILINE)
    assert set(re.findall(r'"(\w+)"', names[1])) == set(WEIGHTS)

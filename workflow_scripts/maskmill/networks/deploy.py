"""Networks for deployment: without the parts that only training needs, with batch norms fused into convolutions, and
as ONNX."""

import json
import logging
import warnings
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from maskmill.networks.norms import fuse_norms
from maskmill.networks.p2at import GCE, P2AT
from maskmill.networks.segmentation import logits_of
from maskmill.storage.atomic import atomic_path

LARGEST_SIDE, LARGEST_BATCH = 8192, 1024  # pixels, images


def deployed(network: nn.Module, *, fold: bool = True, fuse: bool = True) -> nn.Module:
    """A copy of a segmentation network in evaluation mode that gives the same logits, except for rounding.

    The copy of a P2AT has no auxiliary heads.

    Args:
        fold: turn each of P2AT's global contexts into one 1x1 convolution (`GCE.fold`).
        fuse: merge batch norms that directly follow a convolution into it.
    """
    network = deepcopy(network)
    if isinstance(network, P2AT):
        network.auxiliary = nn.ModuleList()
        network.arguments = {**network.arguments, "auxiliary": "none"}
    if fold:
        for module in [m for m in network.modules() if isinstance(m, GCE)]:
            module.fold()
    network.eval()  # folding makes new modules, which are in training mode
    if fuse:
        fuse_norms(network)
    return network


class FromColours(nn.Module):
    """A segmentation network with the normalisation of its input as first layer.

    Args:
        network: has `backbone.mean` and `backbone.std`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: Any):
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(network.backbone.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(network.backbone.std)[:, None, None])

    def forward(self, image: Tensor) -> Tensor:
        """image: RGB float32 [B, 3, H, W] in 0..1. Returns logits [B, K, H, W]."""
        return logits_of(self.network, (image - self.mean) / self.std)


def export_onnx(network: nn.Module, path: str | Path, about: Mapping, only_size: tuple[int, int] | None = None) -> None:
    """Write a segmentation network as ONNX, atomically.

    The graph turns `image`, RGB float32 [B, 3, H, W] in 0..1 of any B, H and W, into `logits`, float32 [B, K, H, W].
    The file's metadata say so: `layout`, `colour_order`, `value_range`, `includes_normalisation`, and `mean` and `std`
    of the normalisation, in units of 0..1.

    Args:
        network: see `deployed`.
        about: more metadata, which `storage.onnx_models` reads with the graph; JSON must be able to hold its values.
        only_size: height and width of all images, which then come one by one; the export takes a third of the time.
            None: any.
    """
    backbone: Any = network.backbone
    eats = {"layout": "NCHW", "colour_order": "RGB", "value_range": [0, 1], "includes_normalisation": True}
    eats |= {"mean": list(backbone.mean), "std": list(backbone.std)}
    shape = {
        0: torch.export.Dim("batch", min=1, max=LARGEST_BATCH),
        2: torch.export.Dim("height", min=8, max=LARGEST_SIDE),
        3: torch.export.Dim("width", min=8, max=LARGEST_SIDE),
    }
    for name in ("onnxscript", "onnx_ir"):  # they log hundreds of lines about the exporter's internals
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so do the exporter's warnings
        program = torch.onnx.export(
            FromColours(deepcopy(network).cpu().float().eval().requires_grad_(False)),
            (torch.zeros(1, 3, *only_size) if only_size else torch.zeros(2, 3, 96, 128),),
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes=None if only_size else (shape,),
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # it is with `dynamo=True`
    program.model.metadata_props.update({key: json.dumps(value) for key, value in {**eats, **about}.items()})
    with atomic_path(path) as temporary:
        program.save(temporary)

"""Turn published GroupViT weights into a checkpoint of maskmill.

By hand: maskmill import-group-vit model.safetensors group_vit.safetensors
In: `weights`, the .pth file of the release (NVlabs/GroupViT), or the file that the transformers package distributes
(.safetensors, .bin). Only tensors are read; a file that holds anything else is refused. Out: `checkpoint`, safetensors.
"""

import logging
import pickle
from pathlib import Path

import torch
from safetensors.torch import load_file

from maskmill.errors import InputError
from maskmill.networks.group_vit import GroupViT
from maskmill.networks.group_vit_weights import group_vit_weights
from maskmill.storage.checkpoints import save_network

TEXT = {"width": 256, "heads": 4, "layers": 12, "context_length": 77}


def main(weights: str, checkpoint: str) -> None:
    """Read the weights of GroupViT's ViT-S under either naming and write them under ours.

    Args:
        weights: published file: .pth, .bin or .safetensors
        checkpoint: safetensors file that is written

    Raises:
        InputError: the file is missing or damaged, holds more than tensors, or holds another network.
    """
    state = group_vit_weights(read_state(weights))
    network = GroupViT(encoder={}, text=TEXT, multi_label="multi_label_log_scale" in state)
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    present = {name: tuple(tensor.shape) for name, tensor in state.items()}
    wrong = sorted(name for name in expected.keys() | present.keys() if expected.get(name) != present.get(name))
    if wrong:
        raise InputError(
            f"{weights}: not the weights of GroupViT's ViT-S: {len(wrong)} tensors are missing, unknown or of another "
            f"shape, the first is {wrong[0]}; give the file of a released model"
        )
    network.load_state_dict(state)
    save_network(checkpoint, network)
    logging.info("%s: the weights of %s", checkpoint, weights)


def read_state(path: str) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors or a torch file, by name."""
    if not Path(path).exists():
        raise InputError(f"{path}: no such file; download the weights first")
    if path.endswith(".safetensors"):
        return load_file(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError):
        raise InputError(
            f"{path}: damaged, or holds more than tensors, which is not read; give the model's .safetensors"
        ) from None
    return state.get("model", state)

"""Published GroupViT weights as a checkpoint of ours (spec open_vocabulary, section 6).

By hand: python workflow_scripts/import_group_vit.py --weights model.safetensors --checkpoint group_vit.safetensors
`weights`: the release's .pth, or what the transformers package distributes (.safetensors, .bin). Only tensors are
read; a file that holds anything else is refused.
"""

import pickle
from pathlib import Path

import torch
from safetensors.torch import load_file

from maskmill.errors import InputError
from maskmill.networks.group_vit import GroupViT
from maskmill.networks.group_vit_weights import group_vit_weights
from maskmill.storage.checkpoints import save_network
from maskmill.workflow import stage

TEXT = {"width": 256, "heads": 4, "layers": 12, "context_length": 77}


def main(weights: str, checkpoint: str) -> None:
    state = group_vit_weights(read_state(weights))
    network = GroupViT(encoder={}, text=TEXT, multi_label="multi_label_log_scale" in state)
    ours = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    theirs = {name: tuple(tensor.shape) for name, tensor in state.items()}
    wrong = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    if wrong:
        raise InputError(
            f"{weights}: not the weights of GroupViT's ViT-S: {len(wrong)} tensors are missing, unknown or of another "
            f"shape, the first is {wrong[0]}; give the file of a released model"
        )
    network.load_state_dict(state)
    save_network(checkpoint, network)


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


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

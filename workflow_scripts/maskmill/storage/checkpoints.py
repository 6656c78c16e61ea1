"""Checkpoints: safetensors files whose header names the network and its arguments. Nothing is unpickled, so that a
file from elsewhere cannot run code."""

import json
from collections.abc import Callable, Collection
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from maskmill.errors import InputError
from maskmill.storage.access import check_readable
from maskmill.storage.atomic import atomic_path


def save_tensors(path: str | Path, tensors: dict[str, Tensor], header: dict) -> None:
    """Write tensors and a header to a safetensors file, atomically.

    Args:
        tensors: on any device.
        header: anything JSON can hold.
    """
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"header": json.dumps(header)})


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict]:
    """Read tensors (on the CPU) and the JSON header of a safetensors file.

    Raises:
        InputError: the file is missing, cannot be opened now, or is not a whole safetensors file.
    """
    return _read(path, lambda file: file.keys())


def _read(path: str | Path, names: Callable) -> tuple[dict[str, Tensor], dict]:
    check_readable(path, "no such checkpoint; run snakemake to make it")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("header", "{}"))
            return {name: file.get_tensor(name) for name in names(file)}, header
    except SafetensorError:
        raise InputError(f"{path}: not a whole safetensors file; delete it and run again") from None


def save_network(path: str | Path, network: nn.Module) -> None:
    """Write a network's weights; the header holds its class and `network.arguments`, the arguments of its constructor
    (a dict that JSON can hold)."""
    header = {"network": type(network).__name__, "arguments": network.arguments}
    save_tensors(path, network.state_dict(), header)


def read_header(path: str | Path) -> dict:
    """The JSON header of a safetensors file; the tensors are not read.

    Raises:
        InputError: the file is missing, cannot be opened now, or is not a whole safetensors file.
    """
    return _read(path, lambda file: [])[1]


def read_arguments(path: str | Path, network_class: type[nn.Module]) -> dict:
    """The constructor arguments of the network in `save_network`'s file; the tensors are not read.

    Raises:
        InputError: as `load_network`.
    """
    return _arguments(path, read_header(path), network_class)


def _arguments(path: str | Path, header: dict, network_class: type[nn.Module]) -> dict:
    if header.get("network") != network_class.__name__:
        raise InputError(f"{path}: holds a {header.get('network')}, not a {network_class.__name__}; delete it")
    return header["arguments"]


def load_one_of(path: str | Path, network_classes: Collection[type[nn.Module]]) -> nn.Module:
    """`load_network` for a file that may hold a network of any of several classes.

    Raises:
        InputError: the file is missing, broken, or holds a network of none of the classes.
    """
    name = read_header(path).get("network")
    chosen = next((network for network in network_classes if network.__name__ == name), None)
    if chosen is None:
        known = ", ".join(network.__name__ for network in network_classes)
        raise InputError(f"{path}: holds a {name}, not one of {known}; delete it")
    return load_network(path, chosen)


def load_network(path: str | Path, network_class: type[nn.Module]) -> nn.Module:
    """Rebuild a network from `save_network`'s file, on the CPU and in evaluation mode.

    Raises:
        InputError: the file is missing, broken, or holds a network of another class.
    """
    tensors, header = load_tensors(path)
    network = network_class(**_arguments(path, header, network_class))
    network.load_state_dict(tensors)
    return network.eval()

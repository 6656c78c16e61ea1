"""Weights published for Caffe, under our networks' names.

A .caffemodel is a protocol buffer (NetParameter of caffe.proto). This module reads only the few fields that hold
weights, so it needs neither Caffe nor generated code.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maskmill.errors import InputError

# Field numbers of caffe.proto: a layer of the present and of the old (V1) format, with its fields `name` and `blobs`.
LAYERS = {100: (1, 7), 2: (4, 6)}
BLOB_SIDES, BLOB_DATA, BLOB_SHAPE, SHAPE_DIMS = (1, 2, 3, 4), 5, 7, 1

Blobs = Mapping[str, list[np.ndarray]]  # of each layer


def read_caffemodel(path: str | Path) -> dict[str, list[np.ndarray]]:
    """Blobs of every layer that has any: layer name to float32 arrays, in the layer's order.

    Raises:
        InputError: the file is missing or not a .caffemodel.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; give the path of a .caffemodel")
    layers: dict[str, list[np.ndarray]] = {}
    try:
        for field, value in _fields(memoryview(path.read_bytes())):
            if field in LAYERS:
                name_field, blob_field = LAYERS[field]
                parts = list(_fields(value))
                name = next((bytes(v).decode() for f, v in parts if f == name_field), "")
                blobs = [_blob(v) for f, v in parts if f == blob_field]
                if blobs:
                    layers[name] = blobs
    except (IndexError, ValueError, TypeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a .caffemodel ({error}); download it again") from None
    if not layers:
        raise InputError(f"{path}: a .caffemodel without weights; give the trained model, not the solver's state")
    return layers


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """Field numbers and values of a message; a value is an int (a varint) or a memoryview (all others)."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        field, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield field, value
            continue
        if wire == 2:
            size, at = _varint(message, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + size > len(message):
            raise ValueError("cut off")
        yield field, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _blob(message: memoryview) -> np.ndarray:
    sides, dims, data = {}, None, []
    for field, value in _fields(message):
        if field in BLOB_SIDES:
            sides[field] = value
        elif field == BLOB_DATA:
            data.append(np.frombuffer(value, "<f4"))
        elif field == BLOB_SHAPE:
            dims = [d for f, v in _fields(value) if f == SHAPE_DIMS for d in _packed(v)]
    shape = dims if dims is not None else [sides.get(field, 1) for field in BLOB_SIDES]
    return np.concatenate(data).reshape(shape) if data else np.empty(0, np.float32)


def _packed(value: int | memoryview) -> list[int]:
    if isinstance(value, int):
        return [value]
    numbers, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        numbers.append(number)
    return numbers


def from_caffe(layers: Blobs, backbone: str, path: str | Path) -> dict[str, Tensor]:
    """Float32 tensors of `resnet101_caffe` or `vgg16_caffe`, named as torchvision names them.

    The first convolution's input channels turn from BGR to RGB. Layers that the backbone lacks are left out.

    Args:
        layers: result of `read_caffemodel`, with the layer names of DeepLab's released models.
        path: of the file, for error messages.

    Raises:
        InputError: the backbone is another one, or one of its layers is missing.
    """
    translate = {"resnet101_caffe": _resnet101, "vgg16_caffe": _vgg16}
    if backbone not in translate:
        raise InputError(f"config: {backbone} takes no Caffe weights; choose one of {', '.join(translate)}")
    try:
        return {name: torch.from_numpy(np.array(value)) for name, value in translate[backbone](layers)}
    except KeyError as error:
        raise InputError(f"{path}: no layer {error} as {backbone} has; give weights of that network") from None


def _resnet101(layers: Blobs) -> Iterator[tuple[str, np.ndarray]]:
    yield "conv1.weight", layers["conv1"][0][:, ::-1]
    yield from _norm(layers, "conv1", "bn1", separator="_")
    for stage, blocks in enumerate((3, 4, 23, 3), start=2):
        for number in range(blocks):
            block, ours = f"{stage}{_block_name(stage, number)}", f"layer{stage - 1}.{number}"
            branches = {f"{block}_branch2{c}": (f"{ours}.conv{i}", f"{ours}.bn{i}") for i, c in enumerate("abc", 1)}
            if number == 0:
                branches[f"{block}_branch1"] = (f"{ours}.downsample.0", f"{ours}.downsample.1")
            for theirs, (convolution, norm) in branches.items():
                yield f"{convolution}.weight", layers[f"res{theirs}"][0]
                yield from _norm(layers, theirs, norm)


def _block_name(stage: int, number: int) -> str:
    """a, b, c in the short stages 2 and 5; a, b1, b2, ... in the long ones."""
    if stage in (2, 5):
        return "abc"[number]
    return "a" if number == 0 else f"b{number}"


def _norm(layers: Blobs, theirs: str, ours: str, separator: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """A batch norm. Caffe stores sums of statistics with their common factor, and scale and shift in another layer."""
    mean, variance, factor = (blob.reshape(-1) for blob in layers[f"bn{separator}{theirs}"])
    scale = 1 / factor[0] if factor[0] else np.float32(0)
    weight, bias = layers[f"scale{separator}{theirs}"]
    yield f"{ours}.weight", weight.reshape(-1)
    yield f"{ours}.bias", bias.reshape(-1)
    yield f"{ours}.running_mean", mean * scale
    yield f"{ours}.running_var", variance * scale


def _vgg16(layers: Blobs) -> Iterator[tuple[str, np.ndarray]]:
    index = 0
    for block, convolutions in enumerate((2, 2, 3, 3, 3), start=1):
        for number in range(1, convolutions + 1):
            weight, bias = layers[f"conv{block}_{number}"]
            yield f"{index}.weight", weight[:, ::-1] if index == 0 else weight
            yield f"{index}.bias", bias.reshape(-1)
            index += 2  # a ReLU follows
        index += 1  # a pool

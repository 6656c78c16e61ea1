"""What a wrong argument or a missing file is answered with, in parts of the library whose own tests do not try it."""

import pytest
from torch import nn

from maskmill.data.images import image_files
from maskmill.data.localization import read_boxes
from maskmill.data.transforms import Augmentation
from maskmill.errors import InputError
from maskmill.networks.backbones import build_backbone
from maskmill.storage.onnx_models import OnnxModel
from maskmill.training.ema import EMA
from maskmill.training.loop import draw_batches
from maskmill.training.optimizers import build_optimizer
from maskmill.training.run import TrainingRun


def boxes_of_other_columns(folder):
    (folder / "boxes.csv").write_text("image_id,left\n")
    return read_boxes(folder / "boxes.csv")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda folder: image_files(folder / "none"), "none: no such folder of images"),
        (lambda folder: read_boxes(folder / "none.csv"), "none.csv: no such table of boxes"),
        (boxes_of_other_columns, r"boxes.csv: columns are \['image_id', 'left'\], not"),
        (lambda folder: OnnxModel(folder / "none.onnx"), "none.onnx: no such model"),
        (lambda _: build_backbone("vgg16", output_stride=16), "output_stride 16 of vgg16; it has 8"),
        (lambda _: TrainingRun(checkpoint="a", batch_size=2).length([0]), "needs --epochs or --iterations"),
        (lambda _: draw_batches([], 2, 0, [0]), "the training split has no images"),
    ],
)
def test_a_users_mistake_is_one_line(tmp_path, call, message):
    with pytest.raises(InputError, match=message) as error:
        call(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Augmentation(crop=8), "give one of long_side, scale, scales and square"),
        (lambda: Augmentation(crop=8, square=8, scale=(1, 2)), "give one of long_side, scale, scales and square"),
        (lambda: Augmentation(crop=8, square=8, interpolation="box"), "interpolation is 'box'; choose "),
        (lambda: EMA(nn.Linear(1, 1), decay=0.9, buffers="kept"), "buffers is 'kept'; choose averaged or copied"),
        (lambda: build_optimizer([], name="lion"), "optimizer is 'lion'; choose sgd, adam or adamw"),
    ],
)
def test_a_programmers_mistake_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

"""Numbers that the papers print, by target and variant, with their source."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PaperValue:
    """A published number (percent), and where it stands."""

    value: float
    source: str


# mIoU of the IRN provider on VOC (spec 2 and 3.8); students there are DeepLabV2 with ResNet-50, ours DeepLabV3+.
MARS_VOC = {
    "label/baseline": PaperValue(66.5, "IRN, VOC train, pseudo masks (ResNet-50)"),
    "student/baseline": PaperValue(63.5, "MARS, VOC val, IRNet (ResNet-50, DeepLabV2)"),
    "student/mars": PaperValue(69.8, "MARS, VOC val, IRNet + MARS with STEGO (ResNet-50, DeepLabV2)"),
}

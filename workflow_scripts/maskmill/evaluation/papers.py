"""Numbers that the papers print, by target and variant, with their source."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PaperValue:
    """A published number (percent), and where it stands."""

    value: float
    source: str


def _deeplab_voc(value: float, what: str) -> PaperValue:
    return PaperValue(value, f"DeepLab, VOC val, ResNet-101 (COCO weights), {what}")


# mIoU, by (method, data set) and variant.
PAPERS = {
    # The IRN provider (spec 2 and 3.8); students there are DeepLabV2 with ResNet-50, ours DeepLabV3+.
    ("mars", "voc"): {
        "label/baseline": PaperValue(66.5, "IRN, VOC train, pseudo masks (ResNet-50)"),
        "student/baseline": PaperValue(63.5, "MARS, VOC val, IRNet (ResNet-50, DeepLabV2)"),
        "student/mars": PaperValue(69.8, "MARS, VOC val, IRNet + MARS with STEGO (ResNet-50, DeepLabV2)"),
    },
    # Only these two were found in print a second time (spec 2.7); the rest of the paper's tables is left empty.
    ("deeplab", "voc"): {
        "aspp_l_msc": _deeplab_voc(76.35, "MSC, Aug, ASPP"),
        "aspp_l_msc+crf": _deeplab_voc(77.69, "MSC, Aug, ASPP, CRF"),
    },
}

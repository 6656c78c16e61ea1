"""BAS: the README of its extension (IJCV 2024).

Segmentation: the students there are DeepLabV2 with ResNet-101, ours DeepLabV3+. Localisation: the authors chose
checkpoint, threshold and top-k on the images that are scored.
"""

from maskmill.evaluation.published import Headline, Paper, PaperValue


def _boxes(dataset: str, network: str, *values: float, what: str = "") -> dict[str, PaperValue]:
    """Top-1, Top-5 and GT-known."""
    source = f"BAS extension, README, {dataset}, {network}{what}"
    names = ("top1_loc", "top5_loc", "gt_known_loc")
    return {name: PaperValue(value, source) for name, value in zip(names, values, strict=True)}


PAPER = Paper(
    headlines=(
        Headline("seed/bas", "seed/cam"),
        Headline("label/bas", "label/irn"),
        Headline("bas", "cam", ("gt_known_loc", "gt_known_loc_heldout")),
    ),
    numbers={
        ("voc",): {
            "seed/cam": PaperValue(48.3, "IRN, VOC train, CAM (ResNet-50)"),
            "seed/bas": PaperValue(57.7, "BAS, VOC train, seeds (ResNet-50)"),
            "label/irn": PaperValue(66.5, "IRN, VOC train, pseudo masks (ResNet-50)"),
            "label/bas": PaperValue(71.1, "BAS, VOC train, pseudo masks (ResNet-50)"),
            "student/bas": PaperValue(69.6, "BAS, VOC val (DeepLabV2, ResNet-101)"),
        },
        ("cub", "vgg16"): {"bas": _boxes("CUB", "VGG16", 70.90, 85.36, 91.04)},
        ("cub", "mobilenet_v1"): {"bas": _boxes("CUB", "MobileNetV1", 70.54, 86.71, 93.04)},
        ("cub", "resnet50"): {
            "cam": _boxes("CUB", "ResNet50", 46.71, 54.44, 57.35, what=", CAM in the same table"),
            "bas": _boxes("CUB", "ResNet50", 76.75, 90.04, 95.41),
        },
        ("cub", "inception_v3"): {"bas": _boxes("CUB", "InceptionV3", 72.09, 88.11, 94.63)},
        ("ilsvrc", "vgg16"): {"bas": _boxes("ILSVRC", "VGG16", 52.94, 65.38, 69.66)},
        ("ilsvrc", "mobilenet_v1"): {"bas": _boxes("ILSVRC", "MobileNetV1", 53.05, 66.68, 72.03)},
        ("ilsvrc", "resnet50"): {
            "cam": _boxes("ILSVRC", "ResNet50", 38.99, 49.47, 51.86, what=", CAM in the same table"),
            "bas": _boxes("ILSVRC", "ResNet50", 57.46, 68.57, 72.00),
        },
        ("ilsvrc", "inception_v3"): {"bas": _boxes("ILSVRC", "InceptionV3", 58.50, 69.03, 72.07)},
    },
)

"""Numbers that the papers print, by target and variant, with their source."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PaperValue:
    """A published number (percent), and where it stands."""

    value: float
    source: str


def _deeplab_voc(value: float, what: str) -> PaperValue:
    return PaperValue(value, f"DeepLab, VOC val, ResNet-101 (COCO weights), {what}")


def _bas_boxes(dataset: str, network: str, *values: float, what: str = "") -> dict[str, PaperValue]:
    """Top-1, Top-5 and GT-known."""
    source = f"BAS extension, README, {dataset}, {network}{what}"
    names = ("top1_loc", "top5_loc", "gt_known_loc")
    return {name: PaperValue(value, source) for name, value in zip(names, values, strict=True)}


def _barm(dataset: str, *values: float) -> dict[str, PaperValue]:
    """Old classes (with background), new ones, all."""
    source = f"BARM, {dataset} val, overlapped, centre crops of 513"
    names = ("miou_old", "miou_new", "miou")
    return {name: PaperValue(value, source) for name, value in zip(names, values, strict=True)}


# mIoU, by (method, data set) and variant; by (method, data set, network), numbers by metric.
PAPERS = {
    # The IRN provider (spec 2 and 3.8); students there are DeepLabV2 with ResNet-50, ours DeepLabV3+.
    ("mars", "voc"): {
        "label/baseline": PaperValue(66.5, "IRN, VOC train, pseudo masks (ResNet-50)"),
        "student/baseline": PaperValue(63.5, "MARS, VOC val, IRNet (ResNet-50, DeepLabV2)"),
        "student/mars": PaperValue(69.8, "MARS, VOC val, IRNet + MARS with STEGO (ResNet-50, DeepLabV2)"),
    },
    # The README of the extension (spec 4.6); students there are DeepLabV2 with ResNet-101, ours DeepLabV3+.
    ("bas", "voc"): {
        "seed/cam": PaperValue(48.3, "IRN, VOC train, CAM (ResNet-50)"),
        "seed/bas": PaperValue(57.7, "BAS, VOC train, seeds (ResNet-50)"),
        "label/irn": PaperValue(66.5, "IRN, VOC train, pseudo masks (ResNet-50)"),
        "label/bas": PaperValue(71.1, "BAS, VOC train, pseudo masks (ResNet-50)"),
        "student/bas": PaperValue(69.6, "BAS, VOC val (DeepLabV2, ResNet-101)"),
    },
    # Only these two were found in print a second time (spec 2.7); the rest of the paper's tables is left empty.
    ("deeplab", "voc"): {
        "aspp_l_msc": _deeplab_voc(76.35, "MSC, Aug, ASPP"),
        "aspp_l_msc+crf": _deeplab_voc(77.69, "MSC, Aug, ASPP, CRF"),
    },
    # Spec 4.5. The authors chose checkpoint, threshold and k on the images that are scored.
    ("bas", "cub", "vgg16"): {"bas": _bas_boxes("CUB", "VGG16", 70.90, 85.36, 91.04)},
    ("bas", "cub", "mobilenet_v1"): {"bas": _bas_boxes("CUB", "MobileNetV1", 70.54, 86.71, 93.04)},
    ("bas", "cub", "resnet50"): {
        "cam": _bas_boxes("CUB", "ResNet50", 46.71, 54.44, 57.35, what=", CAM in the same table"),
        "bas": _bas_boxes("CUB", "ResNet50", 76.75, 90.04, 95.41),
    },
    ("bas", "cub", "inception_v3"): {"bas": _bas_boxes("CUB", "InceptionV3", 72.09, 88.11, 94.63)},
    ("bas", "ilsvrc", "vgg16"): {"bas": _bas_boxes("ILSVRC", "VGG16", 52.94, 65.38, 69.66)},
    ("bas", "ilsvrc", "mobilenet_v1"): {"bas": _bas_boxes("ILSVRC", "MobileNetV1", 53.05, 66.68, 72.03)},
    ("bas", "ilsvrc", "resnet50"): {
        "cam": _bas_boxes("ILSVRC", "ResNet50", 38.99, 49.47, 51.86, what=", CAM in the same table"),
        "bas": _bas_boxes("ILSVRC", "ResNet50", 57.46, 68.57, 72.00),
    },
    ("bas", "ilsvrc", "inception_v3"): {"bas": _bas_boxes("ILSVRC", "InceptionV3", 58.50, 69.03, 72.07)},
    # From the abstract, which names neither training set nor, for Cityscapes, the split (spec 3.6); no frame rates.
    ("p2at", "camvid"): {
        "s": PaperValue(80.5, "P2AT, CamVid test (official colours, 960x720)"),
        "m": PaperValue(81.0, "P2AT, CamVid test (official colours, 960x720)"),
        "l": PaperValue(81.1, "P2AT, CamVid test (official colours, 960x720)"),
    },
    # The tables on the project page (spec deeplab_barm_p2at 1.7).
    ("barm", "voc"): {
        "19-1/barm": _barm("VOC", 78.2, 42.2, 76.4),
        "19-1/joint": _barm("VOC", 77.5, 77.0, 77.4),
        "15-1/barm": _barm("VOC", 77.6, 45.9, 70.0),
        "15-1/joint": _barm("VOC", 79.8, 72.4, 77.4),
        "10-1/barm": _barm("VOC", 72.2, 51.0, 62.1),
        "10-1/joint": _barm("VOC", 78.4, 76.4, 77.4),
        "5-3/barm": _barm("VOC", 71.3, 57.0, 61.1),
        "5-3/joint": _barm("VOC", 76.9, 77.6, 77.4),
    },
    ("barm", "ade20k"): {
        "100-50/barm": _barm("ADE20K", 42.0, 23.0, 35.7),
        "100-50/joint": _barm("ADE20K", 44.3, 28.2, 38.9),
        "100-10/barm": _barm("ADE20K", 41.1, 23.1, 35.2),
        "100-10/joint": _barm("ADE20K", 44.3, 28.2, 38.9),
        "50-50/barm": _barm("ADE20K", 47.9, 26.5, 33.7),
        "50-50/joint": _barm("ADE20K", 51.1, 33.3, 38.9),
        "100-5/barm": _barm("ADE20K", 40.5, 21.2, 34.1),
        "100-5/joint": _barm("ADE20K", 44.3, 28.2, 38.9),
    },
    ("p2at", "cityscapes"): {"m": PaperValue(78.7, "P2AT, Cityscapes (val or test: not stated)")},
    # MixReorg's own table could not be read; trained on CC12M, zero-shot (spec open_vocabulary 1.9, 2.1).
    ("mixreorg", "voc"): {
        "groupvit": PaperValue(41.1, "GroupViT, VOC val, CC12M, as quoted in ZeroSeg, Table 6"),
        "mixreorg": PaperValue(47.9, "MixReorg, VOC val, CC12M, as quoted in CLIP-as-RNN, Table 1"),
    },
    ("mixreorg", "context"): {
        "mixreorg": PaperValue(23.9, "MixReorg, Context-60, CC12M, as quoted in CLIP-as-RNN, Table 1"),
    },
    # The paper's own tables, trained on ImageNet-1k; its abstract prints others for Context and COCO (spec 0, 3.6).
    ("zeroseg", "voc"): {
        "base": PaperValue(21.1, "ZeroSeg, VOC val, ImageNet-1k, losses: base"),
        "multi_scale": PaperValue(28.5, "ZeroSeg, VOC val, ImageNet-1k, losses: + multi-scale"),
        "match": PaperValue(38.6, "ZeroSeg, VOC val, ImageNet-1k, losses: + match"),
        "zeroseg": PaperValue(40.8, "ZeroSeg, VOC val, ImageNet-1k"),
    },
    ("zeroseg", "context"): {"zeroseg": PaperValue(20.4, "ZeroSeg, Context-60, ImageNet-1k")},
}

"""ZeroSeg (ICCV 2023), trained on ImageNet-1k: its tables. Its abstract prints other numbers for Context and COCO."""

from maskmill.evaluation.published import Headline, Paper, PaperValue

PAPER = Paper(
    headlines=(Headline("zeroseg", "base"),),
    numbers={
        ("voc",): {
            "base": PaperValue(21.1, "ZeroSeg, VOC val, ImageNet-1k, losses: base"),
            "multi_scale": PaperValue(28.5, "ZeroSeg, VOC val, ImageNet-1k, losses: + multi-scale"),
            "match": PaperValue(38.6, "ZeroSeg, VOC val, ImageNet-1k, losses: + match"),
            "zeroseg": PaperValue(40.8, "ZeroSeg, VOC val, ImageNet-1k"),
        },
        ("context",): {"zeroseg": PaperValue(20.4, "ZeroSeg, Context-60, ImageNet-1k")},
    },
)

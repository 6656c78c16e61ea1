"""MARS (ICCV 2023), its table of results with IRNet as the provider of pseudo labels.

The paper's students are DeepLabV2 with ResNet-50, ours DeepLabV3+.
"""

from maskmill.evaluation.published import Headline, Paper, PaperValue

PAPER = Paper(
    headlines=(Headline("student/mars", "student/baseline"),),
    numbers={
        ("voc",): {
            "label/baseline": PaperValue(66.5, "IRN, VOC train, pseudo masks (ResNet-50)"),
            "student/baseline": PaperValue(63.5, "MARS, VOC val, IRNet (ResNet-50, DeepLabV2)"),
            "student/mars": PaperValue(69.8, "MARS, VOC val, IRNet + MARS with STEGO (ResNet-50, DeepLabV2)"),
        },
    },
)

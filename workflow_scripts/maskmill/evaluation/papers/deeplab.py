"""DeepLab v2 (TPAMI 2017): the two numbers of its ablation with ResNet-101 that a second source confirms."""

from maskmill.evaluation.published import Headline, Paper, PaperValue


def _voc(value: float, what: str) -> PaperValue:
    return PaperValue(value, f"DeepLab, VOC val, ResNet-101 (COCO weights), {what}")


PAPER = Paper(
    headlines=(Headline("aspp_l", "largefov"), Headline(r"(aspp_l|aspp_l_msc)\+crf", r"\1")),
    numbers={
        ("voc",): {
            "aspp_l_msc": _voc(76.35, "MSC, Aug, ASPP"),
            "aspp_l_msc+crf": _voc(77.69, "MSC, Aug, ASPP, CRF"),
        },
    },
)

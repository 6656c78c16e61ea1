"""BARM (ECCV 2024): Tables 1 and 2 of its project page."""

from maskmill.evaluation.published import Headline, Paper, PaperValue


def _scores(dataset: str, *values: float) -> dict[str, PaperValue]:
    """mIoU of the old classes (with background), of the new ones, and of all."""
    source = f"BARM, {dataset} val, overlapped, centre crops of 513"
    names = ("miou_old", "miou_new", "miou")
    return {name: PaperValue(value, source) for name, value in zip(names, values, strict=True)}


PAPER = Paper(
    headlines=(Headline(r"([^/]+)/barm", r"\1/finetune", ("miou", "miou_old", "miou_new")),),
    numbers={
        ("voc",): {
            "19-1/barm": _scores("VOC", 78.2, 42.2, 76.4),
            "19-1/joint": _scores("VOC", 77.5, 77.0, 77.4),
            "15-1/barm": _scores("VOC", 77.6, 45.9, 70.0),
            "15-1/joint": _scores("VOC", 79.8, 72.4, 77.4),
            "10-1/barm": _scores("VOC", 72.2, 51.0, 62.1),
            "10-1/joint": _scores("VOC", 78.4, 76.4, 77.4),
            "5-3/barm": _scores("VOC", 71.3, 57.0, 61.1),
            "5-3/joint": _scores("VOC", 76.9, 77.6, 77.4),
        },
        ("ade20k",): {
            "100-50/barm": _scores("ADE20K", 42.0, 23.0, 35.7),
            "100-50/joint": _scores("ADE20K", 44.3, 28.2, 38.9),
            "100-10/barm": _scores("ADE20K", 41.1, 23.1, 35.2),
            "100-10/joint": _scores("ADE20K", 44.3, 28.2, 38.9),
            "50-50/barm": _scores("ADE20K", 47.9, 26.5, 33.7),
            "50-50/joint": _scores("ADE20K", 51.1, 33.3, 38.9),
            "100-5/barm": _scores("ADE20K", 40.5, 21.2, 34.1),
            "100-5/joint": _scores("ADE20K", 44.3, 28.2, 38.9),
        },
    },
)

"""P2AT (ESWA 2024), its abstract, which names neither the training set nor, for Cityscapes, the split.

The sizes m and l have other backbones than our baseline, so only s is judged against it.
"""

from maskmill.evaluation.published import Headline, Paper, PaperValue

PAPER = Paper(
    headlines=(Headline("s", "plain_decoder"),),
    numbers={
        ("camvid",): {
            "s": PaperValue(80.5, "P2AT, CamVid test (official colours, 960x720)"),
            "m": PaperValue(81.0, "P2AT, CamVid test (official colours, 960x720)"),
            "l": PaperValue(81.1, "P2AT, CamVid test (official colours, 960x720)"),
        },
        ("cityscapes",): {"m": PaperValue(78.7, "P2AT, Cityscapes (val or test: not stated)")},
    },
)

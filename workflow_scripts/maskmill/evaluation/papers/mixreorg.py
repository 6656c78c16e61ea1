"""MixReorg (ICCV 2023), trained on CC12M, zero-shot. We could not read its own tables: two other papers quote them."""

from maskmill.evaluation.published import Headline, Paper, PaperValue

PAPER = Paper(
    headlines=(Headline("mixreorg", "groupvit"),),
    numbers={
        ("voc",): {
            "groupvit": PaperValue(41.1, "GroupViT, VOC val, CC12M, as quoted in ZeroSeg, Table 6"),
            "mixreorg": PaperValue(47.9, "MixReorg, VOC val, CC12M, as quoted in CLIP-as-RNN, Table 1"),
        },
        ("context",): {
            "mixreorg": PaperValue(23.9, "MixReorg, Context-60, CC12M, as quoted in CLIP-as-RNN, Table 1"),
        },
    },
)

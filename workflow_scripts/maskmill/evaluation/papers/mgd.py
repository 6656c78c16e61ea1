"""MGD (ECCV 2022). No numbers: we could not read the tables of the paper."""

from maskmill.evaluation.published import Headline, Paper

PAPER = Paper(headlines=(Headline(r"(\w+)_(cached|online)", r"\1_supervised"),))

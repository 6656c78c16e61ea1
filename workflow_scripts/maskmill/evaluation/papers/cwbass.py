"""CW-BASS (IJCNN 2025). No numbers: the sources do not say for certain which partition a number belongs to."""

from maskmill.evaluation.published import Headline, Paper

PAPER = Paper(headlines=(Headline("cwbass", "supervised"),))

"""Help texts of command-line options, read from docstrings."""

import inspect
import re
from collections.abc import Callable

# Parameters that mean the same in every stage; a stage's own `Args:` come first.
SHARED_OPTIONS = {
    "dataset": "name of the data set, as in config.yaml's `data`",
    "index": "CSV with one row per image: paths, size in pixels, tags",
    "ids": "text file with the ids of the images to work on, one per line",
    "checkpoint": "safetensors file of a trained network",
    "weights": "safetensors file with published weights that the backbone starts from; none: random weights",
    "classifier": "safetensors file of the trained classifier, whose backbone the network starts from; none: not used",
    "network": "keyword arguments of the network's class",
    "augmentation": "keyword arguments of the augmentation's class",
    "short_side": "working size: pixels that the short side of a larger image is shrunk to; null: its own size",
    "lr": "learning rate at the first iteration",
    "new_factor": "the learning rate of layers that are not the backbone's, in units of the backbone's",
    "weight_decay": "weight decay of all parameters",
    "threads": "processes, or threads, that share the work",
    "seed": "seed of every random number",
    "scale": "scale of the run, written beside the figures: sample, small or paper",
    "crf": "parameters of the dense CRF, as in config.yaml's `crf`",
}


def documented(thing: Callable | type) -> dict[str, str]:
    """The texts that a Google-style docstring gives the parameters of a function or the attributes of a class.

    A line `a, b: text` gives both names the same text.
    """
    lines = (inspect.getdoc(thing) or "").splitlines()
    starts = [number for number, line in enumerate(lines) if line in ("Args:", "Attributes:")]
    texts: dict[str, str] = {}
    names: list[str] = []
    for line in lines[starts[0] + 1 :] if starts else []:
        if line and not line.startswith(" "):
            break  # the next section
        entry = re.match(r"    ([a-z_0-9]+(?:, [a-z_0-9]+)*): (.*)", line)
        if entry:
            names = entry[1].split(", ")
            texts |= dict.fromkeys(names, entry[2])
        elif line.strip():
            texts |= {name: f"{texts[name]} {line.strip()}" for name in names}
    return texts

"""Help texts of command-line options, read from docstrings."""

import inspect
import re
from collections.abc import Callable

# Parameters that mean the same in three stages or more; a stage's own `Args:` come first.
SHARED_OPTIONS = {
    # Data.
    "dataset": "name of the data set, as under `data` in config.yaml",
    "boxset": "name of the localisation set: cub or ilsvrc",
    "index": "CSV with one row per image: id, files of image and mask, height and width in pixels, tags, splits",
    "ids": "text file with the ids of the images to work on, one per line",
    "scatteritem": "part of the images to work on: 3-of-8 is the third of eight parts",
    "short_side": "working size: an image whose short side is longer is shrunk to this many pixels; null: none is",
    "pairs": "CSV with the columns key, image (a file) and caption",
    "steps": "mask ids of the classes that each step learns, without the background, one list per step: [[1, 2], [3]]",
    "complete": "empty file that is written last, into the folder of the data: they are whole",
    # Networks and maps.
    "weights": "safetensors file with published weights that the backbone starts from; none: random weights",
    "classifier": "safetensors file of the trained classifier, whose backbone the network starts from; none: not used",
    "cams": "map store of class activation maps: per image float16 [k, h, w] in 0..1, one plane per tag",
    "logits": "map store of score maps before the softmax: per image float16 [C, h, w] at the network's stride",
    "vectors": "safetensors file of the classes: unit vectors float [N, D] of their prompts, mask ids int64 [N], names",
    "scales": "sizes at which the network sees an image, as factors of the image's working size",
    "resize": "pixels; height and width that images are resized to, whatever their aspect",
    "crop": "pixels; side of the square that is cut from the middle of the resized image",
    "crf": "parameters of the dense CRF, as in config.yaml's `crf`",
    # Trainings.
    "network": "keyword arguments of the network's class",
    "augmentation": "keyword arguments of the augmentation's class",
    "lr": "learning rate at the first iteration",
    "new_factor": "the learning rate of layers outside the backbone, in units of the backbone's",
    "weight_decay": "weight decay of all parameters",
    # Results.
    "classes": "names of the classes that means are taken over, besides the background; null: all classes",
    "counted": "classes in a mean: occurring (in truth or prediction), truth, or all (an absent class counts as 0)",
    "method": "name of the method, for titles and tables",
    "scale": "scale of the run, for titles and tables: sample, small or paper",
    "picture": "PNG to draw",
    # How the work is done.
    "seed": "seed of every random number",
    "threads": "processes, or threads, that share the work",
}


def documented(thing: Callable | type) -> dict[str, str]:
    """The texts that a Google-style docstring gives the parameters of a function or the attributes of a class.

    A line `a, b: text` gives both names the same text. Texts end without a full stop.
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
    return {name: text.removesuffix(".") for name, text in texts.items()}

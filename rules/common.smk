import difflib
import sys
from pathlib import Path

import jsonschema
import yaml
from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir) / "workflow_scripts"))
from code_digest import code_digest as code

TARGETS = ["mars_voc_miou"]


def merged(base: dict, changes: dict) -> dict:
    """`base` with `changes` laid over it, mapping by mapping."""
    both = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(base.get(key), dict)
        both[key] = merged(base[key], value) if nested else value
    return both


def load_settings(changes: dict) -> dict:
    """config.yaml, the overlay of the chosen scale, and the user's own changes, in this order; checked."""
    base = yaml.safe_load((Path(workflow.basedir) / "config.yaml").read_text())
    overlays = base.pop("scales")
    scale = changes.get("scale", base["scale"])
    if scale not in overlays:
        raise WorkflowError(f"config: scale {scale!r} is not one of {', '.join(overlays)}; correct --config scale=...")
    settings = merged(merged(base, overlays[scale]), changes)
    check_settings(settings)
    return settings


def check_settings(settings: dict) -> None:
    schema = yaml.safe_load((Path(workflow.basedir) / "rules/config.schema.yaml").read_text())
    for error in jsonschema.Draft202012Validator(schema).iter_errors(settings):
        where = ".".join(map(str, error.absolute_path))
        if error.validator == "additionalProperties":
            known = error.schema["properties"]
            key = next(key for key in error.instance if key not in known)
            close = difflib.get_close_matches(key, known, n=1) or sorted(known)
            name = f"{where}.{key}".lstrip(".")
            raise WorkflowError(f"config: unknown key {name!r}; did you mean {close[0]!r}?")
        raise WorkflowError(f"config: {where}: {error.message}; see rules/config.schema.yaml")


# What the user gave on the command line becomes the whole configuration, for rules and scripts alike.
config.update(load_settings(config))

SCALE = config["scale"]
WORK = f"work/{SCALE}"


wildcard_constraints:
    dataset="voc",
    provider="irn|external",
    split="labelled_train|train|val|gallery",


def voc_root() -> str:
    """The VOC2012 folder: the user's own, the drawn one, or the downloaded one."""
    if config["data"]["voc"]["root"]:
        return config["data"]["voc"]["root"]
    return f"{WORK}/voc/VOC2012" if SCALE == "sample" else "downloads/voc/VOC2012"


def short_side(wildcards) -> int | None:
    """Working size of a data set's images."""
    return config["data"][wildcards.dataset]["short_side"]


def averaged_classes(wildcards) -> list[str] | None:
    """Class names that a data set's scores are averaged over."""
    return config["data"][wildcards.dataset]["classes"]


def ids_of(role: str):
    """The id list that plays a role (train, labelled_train, val) in the workflow."""
    return f"{WORK}/{{dataset}}/splits/{role}.txt"


def predicted_ids(wildcards) -> str:
    """The id list of the images to predict: a split, or the ones that the gallery shows."""
    if wildcards.split == "gallery":
        return f"{WORK}/{wildcards.dataset}/mars/{wildcards.provider}/gallery.txt"
    return f"{WORK}/{wildcards.dataset}/splits/{wildcards.split}.txt"


def evaluated_ids(wildcards) -> str:
    """Pseudo labels are scored on the training images that have masks, predictions on their own split."""
    if "students/" in wildcards.store:
        return f"{WORK}/{wildcards.dataset}/splits/{wildcards.store.split('/')[-2]}.txt"
    return f"{WORK}/{wildcards.dataset}/splits/labelled_train.txt"


def pretrained(network: str, wanted: bool) -> list[str]:
    """The weight file of a network, where it is to start from published weights."""
    return [f"downloads/weights/{network}.safetensors"] if wanted else []


def only(section: dict, *keys: str) -> dict:
    return {key: section[key] for key in keys}


def without(section: dict, *keys: str) -> dict:
    return {key: value for key, value in section.items() if key not in keys}


def training() -> dict:
    """What every training has for parameters."""
    return {"seed": config["seed"], "max_iterations": config["max_iterations"], "short_side": short_side}

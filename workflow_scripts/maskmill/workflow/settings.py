"""The settings of a run: config.yaml, the file of the scale and the user's changes, laid over one another and checked.

Whatever is wrong raises an InputError before any job runs; its message is one line, "config: <key>: <fault>; <fix>".
"""

import difflib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import jsonschema
import yaml

from maskmill.data.catalog import DATASETS, OWN, averaged_ids
from maskmill.data.incremental import task_steps
from maskmill.data.localization import BOXSETS
from maskmill.data.partitions import PROTOCOLS, find_part
from maskmill.errors import InputError

SCHEMA = "rules/config.schema.yaml"

# Keys of `data.<name>` where config.yaml does not give them.
DATA_DEFAULTS: dict[str, str | None] = {
    "root": None,
    "train_split": "train",
    "eval_split": "train",
    "val_split": "val",
    "short_side": None,
    "classes": None,
}
# Keys of `partitions.<name>`, likewise.
PARTITION_DEFAULTS: dict[str, dict | None] = {"order": None, "labelled": None, "unlabelled": None, "sha256": {}}


# Reading


def load_settings(root: Path, changes: dict) -> dict:
    """All settings of a run, checked.

    Args:
        root: folder with config.yaml, scales/ and rules/config.schema.yaml.
        changes: the user's own values, in the shape of config.yaml; they come last.

    Raises:
        InputError: no such scale, an unknown key, or a value that is not allowed.
    """
    base = read_yaml(root / "config.yaml")
    scale, scales = changes.get("scale", base["scale"]), {path.stem: path for path in (root / "scales").glob("*.yaml")}
    if not isinstance(scale, str) or scale not in scales:
        known = ", ".join(sorted(scales))
        raise InputError(f"config: scale {scale!r} is not one of {known}; correct --config scale=...")
    settings = with_defaults(merged(merged(base, read_yaml(scales[scale])), changes))
    check_dataset_names(settings)
    check_settings(settings, read_yaml(root / SCHEMA))
    check_names(settings)
    return settings


def read_yaml(path: Path) -> dict:
    """The content of a YAML file, by libyaml where PyYAML has it, since every call of Snakemake waits for this."""
    return yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def with_words(settings: dict, untyped: dict, words: Iterable[str]) -> dict:
    """Settings with the values of --config read as YAML. Files are YAML already: their strings stay as they are.

    Args:
        settings: what Snakemake made of the files and of --config. It hands over nested values of --config as text,
            without their quotes.
        untyped: what it made of --config alone.
        words: the words of --config, such as "mars={alpha: 0.5}".

    Raises:
        InputError: a word is no YAML.
    """
    changes: dict = {}
    for word in words:
        key, _, text = word.partition("=")
        try:
            changes = merged(changes, {key: yaml.safe_load(text)})
        except yaml.YAMLError:
            raise InputError(
                f"config: --config {word}: not YAML; put names with special characters in single quotes"
            ) from None
    return merged(_without(settings, untyped), changes)


def _without(settings: dict, given: dict) -> dict:
    """The settings without the values that `given` has too, mapping by mapping."""
    rest = {}
    for key, value in settings.items():
        if key not in given:
            rest[key] = value
        elif isinstance(value, dict) and isinstance(given[key], dict):
            rest[key] = _without(value, given[key])
    return rest


def merged(base: dict, changes: dict) -> dict:
    """`base` with `changes` laid over it, mapping by mapping; lists are replaced as a whole. Both stay as they are."""
    both = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(base.get(key), dict)
        both[key] = merged(base[key], value) if nested else value
    return both


def with_defaults(settings: dict) -> dict:
    """The settings with the keys of data sets and partitions that config.yaml leaves to their defaults."""
    sections: dict[str, dict] = {
        "data": {name: DATA_DEFAULTS for name in DATASETS},
        "partitions": {name: PARTITION_DEFAULTS for name in _mapping(settings, "partitions")},
    }
    given = {name: defaults for name, defaults in sections.items() if _mapping(settings, name)}
    return settings | {name: merged(defaults, settings[name]) for name, defaults in given.items()}


# Looking up


def method_settings(settings: dict, method: str, dataset: str) -> dict:
    """A method's section, with what its `datasets.<dataset>` changes laid over it."""
    section = {key: value for key, value in settings[method].items() if key != "datasets"}
    return merged(section, settings[method].get("datasets", {}).get(dataset, {}))


def part_name(part: str | int) -> str:
    """A partition's name in paths: 1_8 for 1/8."""
    return "_".join(Path(str(part)).parts)


# Checks


def check_dataset_names(settings: dict) -> None:
    """Check the keys of every mapping that is keyed by data sets, before the schema, which does not know their names.

    Raises:
        InputError: there is no such data set; the message offers the nearest name.
    """
    for where, names, known in _dataset_mappings(settings):
        for name in names:
            if name not in known:
                raise unknown_key(where, name, known)


def _dataset_mappings(settings: dict) -> Iterator[tuple[str, Iterable[str], list[str]]]:
    """The dotted key of each mapping that is keyed by data sets, its keys, and the keys that it may have."""
    yield "data", _mapping(settings, "data"), [*DATASETS, OWN, "sample"]
    yield "partitions", _mapping(settings, "partitions"), [protocol.dataset for protocol in PROTOCOLS.values()]
    yield "barm.tasks", _mapping(_mapping(settings, "barm"), "tasks"), list(DATASETS)
    for method in settings:
        if method != "export":  # keyed by methods
            known = list(BOXSETS) if method == "localization" else [*DATASETS, OWN]
            yield f"{method}.datasets", _mapping(_mapping(settings, method), "datasets"), known


def _mapping(settings: dict, key: str) -> dict:
    """The mapping under a key; an empty one where another value stands there, which the schema then refuses."""
    value = settings.get(key)
    return value if isinstance(value, dict) else {}


def unknown_key(where: str, key: str, known: Iterable[str]) -> InputError:
    """The error for a key that a section does not have; its line offers the nearest key, or all of them."""
    name, known = f"{where}.{key}".lstrip("."), sorted(set(map(str, known)))
    close = difflib.get_close_matches(str(key), known, n=1)
    fix = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(known)}"
    return InputError(f"config: unknown key {name!r}; {fix}")


def check_settings(settings: dict, schema: dict) -> None:
    """Check the settings against the schema.

    Raises:
        InputError: the first fault.
    """
    for error in jsonschema.Draft202012Validator(schema).iter_errors(settings):
        where = ".".join(map(str, error.absolute_path))
        if error.validator == "additionalProperties":
            known = error.schema.get("properties", {})
            raise unknown_key(where, next(key for key in error.instance if key not in known), known)
        raise InputError(f"config: {where}: {error.message}; {_cure(error)}")


def _cure(error: jsonschema.ValidationError) -> str:
    """What to do about a value that the schema refuses; quotes are what is missing or too many where types differ."""
    wanted = error.validator_value if error.validator == "type" else []
    types = {wanted} if isinstance(wanted, str) else set(wanted)
    if "string" in types and not isinstance(error.instance, (dict, list)):
        return "put it in quotes, since YAML reads no, yes, null, numbers, dates and times as something else than text"
    if isinstance(error.instance, str) and types & {"number", "integer", "boolean"}:
        return "remove its quotes; a number with an exponent needs a point, as in 1.0e-3"
    return f"see {SCHEMA}"


def check_names(settings: dict) -> None:
    """Check what a schema cannot tell: names that refer to one another, and values that exclude one another.

    Raises:
        InputError: the first fault.
    """
    for check in CHECKS:
        check(settings)


def check_classes(settings: dict) -> None:
    for name, dataset in DATASETS.items():
        try:
            averaged_ids(dataset, settings["data"][name]["classes"])
        except InputError as error:
            raise InputError(f"config: data.{name}.classes: {error}") from None
    if "background" in (settings["data"][OWN]["classes"] or []):
        raise InputError(f"config: data.{OWN}.classes has 'background', which is mask id 0 by itself; remove it")


def check_tags(settings: dict) -> None:
    tagged = settings["pairs"]["tags"]["dataset"]
    if tagged not in DATASETS:
        raise InputError(f"config: pairs.tags.dataset {tagged!r} is not one of {', '.join(DATASETS)}; correct it")
    _check_members("pairs.tags.left_out", settings["pairs"]["tags"]["left_out"], tagged)


def check_deeplab(settings: dict) -> None:
    section = settings["deeplab"]
    backbone, init = section["network"]["backbone"], section["init"]
    if init == "coco" and not backbone.endswith("_caffe"):
        raise InputError(
            "config: deeplab.init is coco, but weights from COCO are published for Caffe's networks only, not "
            f"{backbone}; set deeplab.network.backbone to resnet101_caffe or vgg16_caffe"
        )
    searched = section["crf_search"]["variant"]
    if searched not in section["variants"]:
        known = ", ".join(section["variants"])
        raise InputError(f"config: deeplab.crf_search.variant {searched!r} is not one of deeplab.variants ({known})")
    if init != "none" and backbone.endswith("_caffe") and not section["caffe_weights"]:
        raise InputError(
            f"config: deeplab.caffe_weights is null, but {backbone} starts from a .caffemodel of your own; give its "
            "path, or set deeplab.network.backbone to resnet101 or vgg16 (torchvision's weights)"
        )


def check_localization(settings: dict) -> None:
    section = settings["localization"]
    backbone = section["network"]["backbone"]
    for boxset, about in section["datasets"].items():
        if backbone not in about["backbones"]:
            known = ", ".join(about["backbones"])
            raise InputError(
                f"config: localization.datasets.{boxset}.backbones has no {backbone!r}, only {known}; add it"
            )
    if section["resize"] < section["crop"]:
        raise InputError("config: localization.crop is larger than localization.resize; make it smaller")
    if backbone == "mobilenet_v1" and section["pretrained"] and not section["weights"]:
        raise InputError(
            f"config: localization.weights is null, but the workflow does not fetch weights of {backbone}; give a "
            "safetensors file, or set localization.pretrained to false"
        )


def check_rows(settings: dict) -> None:
    """A data set may change rows of a method's table, but has no rows of its own."""
    for method, group in (("cwbass", "ablations"), ("mgd", "students"), ("p2at", "variants")):
        for dataset, changes in settings[method]["datasets"].items():
            new = next((name for name in changes.get(group, {}) if name not in settings[method][group]), None)
            if new is not None:
                key = f"{method}.datasets.{dataset}.{group}.{new}"
                raise InputError(f"config: unknown key {key!r}; {method}.{group} has no {new!r}, name it there")


def check_students(settings: dict) -> None:
    """A teacher or a student that config.yaml does not have needs all that a training takes."""
    for group, needed in (("teachers", {"network", "lr"}), ("students", {"network", "lr", "lambda_1", "lambda_2"})):
        for name, entry in settings["mgd"][group].items():
            if entry is None:
                continue
            missing = sorted(needed - entry.keys()) or sorted({"backbone"} - entry["network"].keys())
            if missing:
                raise InputError(f"config: mgd.{group}.{name} has no {', '.join(missing)}; add what it lacks")


def check_starts(settings: dict) -> None:
    """What starts from the trained classifier has its backbone."""
    trained = settings["classifier"]["network"]["backbone"]
    starts = (
        ("irn", not settings["irn"]["pretrained"], "irn.pretrained is false"),
        ("bas", settings["bas"]["init"] == "classifier", "bas.init is classifier"),
        ("student", settings["student_init"] == "classifier", "student_init is classifier"),
    )
    for section, starts_there, reason in starts:
        backbone = settings[section]["network"]["backbone"]
        if starts_there and backbone != trained:
            raise InputError(
                f"config: {section}.network.backbone is {backbone}, but {reason}: it starts from the classifier, "
                f"a {trained}; give both the same backbone"
            )
    stem = settings["tiny_clip"]["network"]["backbone"]
    for method, network in (
        ("mixreorg.network.encoder", settings["mixreorg"]["network"]["encoder"]),
        ("zeroseg.network", settings["zeroseg"]["network"]),
    ):
        if settings[method.split(".")[0]]["stem_init"] == "tiny_clip" and network["stem"] != stem:
            raise InputError(
                f"config: {method}.stem is {network['stem']}, but stem_init is tiny_clip, a {stem}; set it"
            )


def check_p2at(settings: dict) -> None:
    if method_settings(settings, "p2at", "cityscapes")["init"] == "cityscapes":
        raise InputError("config: p2at.init is cityscapes for Cityscapes itself; set it to imagenet or none there")


def check_partitions(settings: dict) -> None:
    for dataset, chosen in settings["partitions"].items():
        find_part(dataset, chosen["protocol"], part_name(chosen["part"]))


def check_barm(settings: dict) -> None:
    for dataset, tasks in settings["barm"]["tasks"].items():
        for task in tasks:
            task_steps(DATASETS[dataset], task, settings["barm"]["protocols"])


def check_zero_shot(settings: dict) -> None:
    for method in ("mixreorg", "zeroseg"):
        section = settings[method]
        if section["stride"] > section["window"]:
            raise InputError(
                f"config: {method}.stride is {section['stride']}, above {method}.window ({section['window']}): no "
                "window would see the pixels between; make it smaller"
            )
        network = section["network"]
        patch = network.get("encoder", network)["patch_size"]
        if section["window"] % patch:
            raise InputError(
                f"config: {method}.window is {section['window']}, not whole patches of {patch}; correct it"
            )
        for dataset in (name for name in DATASETS if name in section["datasets"]):
            names = section["datasets"][dataset].get("names", {})
            _check_members(f"{method}.datasets.{dataset}.names", names, dataset)
            words = [names.get(name, name).strip().casefold() for name in DATASETS[dataset].classes]
            twice = next((word for word in words if words.count(word) > 1), None)
            if twice is not None:
                raise InputError(
                    f"config: {method}.datasets.{dataset}.names: two classes are called {twice!r}; rename one"
                )


def _check_members(where: str, names: Iterable[str], dataset: str) -> None:
    """Refuse names that are no classes of a data set."""
    for name in names:
        if name not in DATASETS[dataset].classes:
            close = difflib.get_close_matches(str(name), DATASETS[dataset].classes, n=1)
            fix = f"did you mean {close[0]!r}?" if close else "correct it"
            raise InputError(f"config: {where}: {dataset} has no class {name!r}; {fix}")


def check_curves(settings: dict) -> None:
    for section in ("cams", "localization", "mixreorg", "zeroseg"):
        first, end, step = settings[section]["thresholds"]
        if not (first < end and step > 0):
            raise InputError(
                f"config: {section}.thresholds is {[first, end, step]}, which holds none; give first, end and step"
            )


# Settings that hold a path, by the last part of their keys; and those that Snakemake has as inputs of rules.
PATHS = {
    *("root", "images", "masks", "tags", "val", "external", "boxes", "list", "lists", "nltk_data"),
    *("caffe_weights", "teacher_weights", "weights", "order", "labelled", "unlabelled"),
}
INPUTS = {"caffe_weights", "teacher_weights", "weights", "order", "labelled", "unlabelled"}


def check_paths(settings: dict) -> None:
    for where, path in _paths(settings):
        if any(sign < " " for sign in path):
            raise InputError(
                f"config: {where} {path!r} holds a line break or a tab, as YAML reads \\n and \\t in double quotes; "
                "write slashes, or single quotes"
            )
        if "\\" in path and os.sep == "/" and not Path(path).exists():
            other = path.replace("\\", "/")
            raise InputError(f"config: {where} is '{path}', but folders are divided by slashes here; write '{other}'")
        if where.split(".")[-1] in INPUTS and set("{}") & set(path):
            raise InputError(f"config: {where} is '{path}', but Snakemake takes braces for wildcards; rename the file")


def _paths(section: dict, where: str = "") -> Iterator[tuple[str, str]]:
    """The dotted keys and values of settings that hold a path on this machine."""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _paths(value, f"{where}{key}.")
        elif isinstance(value, str) and key in PATHS and "://" not in value:
            yield f"{where}{key}", value


def check_mars(settings: dict) -> None:
    if settings["mars"]["provider"] == "external" and not settings["mars"]["external"]:
        raise InputError("config: mars.provider is external; set mars.external to the folder with <image id>.png")


CHECKS: tuple[Callable[[dict], None], ...] = (
    check_classes,
    check_tags,
    check_deeplab,
    check_localization,
    check_rows,
    check_students,
    check_starts,
    check_p2at,
    check_partitions,
    check_barm,
    check_zero_shot,
    check_curves,
    check_paths,
    check_mars,
)

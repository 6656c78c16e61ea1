import difflib
import hashlib
import os
import sys
from functools import cache
from pathlib import Path

import jsonschema
import yaml
from snakemake.exceptions import WorkflowError

# Scripts import the library of this checkout, whichever is installed.
LIBRARY = str(Path(workflow.basedir) / "workflow_scripts")
sys.path.insert(0, LIBRARY)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [LIBRARY, os.environ.get("PYTHONPATH")]))
from maskmill.workflow.digest import code_digest as code
from maskmill.data.catalog import DATASETS, OWN, averaged_ids
from maskmill.data.incremental import task_steps
from maskmill.data.localization import BOXSETS
from maskmill.data.images import SUFFIXES
from maskmill.data.own import MASK_SUFFIXES, shown_files, training_masks
from maskmill.data.partitions import PROTOCOLS, find_part
from maskmill.data.sample_scenes import stand_in_ids
from maskmill.errors import InputError

TARGETS = [
    "mars_voc_miou",
    "bas_voc_miou",
    "bas_cub_localization",
    "deeplab_voc_miou",
    "cwbass_voc_miou",
    "mgd_voc_miou",
    "p2at_voc_miou",
    "p2at_voc_speed",
    "barm_voc_miou",
    "mixreorg_voc_miou",
    "zeroseg_voc_miou",
]


def merged(base: dict, changes: dict) -> dict:
    """`base` with `changes` laid over it, mapping by mapping."""
    both = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(base.get(key), dict)
        both[key] = merged(base[key], value) if nested else value
    return both


def typed(value):
    """Snakemake hands over what is nested in a --config value as text: read it as the YAML it was written in."""
    if isinstance(value, dict):
        return {key: typed(nested) for key, nested in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    return yaml.safe_load(value) if isinstance(value, str) else value


def read_yaml(name: str) -> dict:
    """A file of the project, by libyaml where PyYAML has it: every call of Snakemake waits for this."""
    return yaml.load((Path(workflow.basedir) / name).read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def load_settings(changes: dict) -> dict:
    """config.yaml, the overlay of the chosen scale, and the user's own changes, in this order; checked."""
    base = read_yaml("config.yaml")
    overlays = base.pop("scales")
    scale = changes.get("scale", base["scale"])
    if scale not in overlays:
        raise WorkflowError(
            f"config: scale {scale!r} is not one of {', '.join(sorted(overlays))}; correct --config scale=..."
        )
    settings = merged(merged(base, overlays[scale]), changes)
    check_settings(settings)
    check_names(settings)
    return settings


def check_settings(settings: dict) -> None:
    schema = read_yaml("rules/config.schema.yaml")
    for error in jsonschema.Draft202012Validator(schema).iter_errors(settings):
        where = ".".join(map(str, error.absolute_path))
        if error.validator == "additionalProperties":
            known = error.schema["properties"]
            key = next(key for key in error.instance if key not in known)
            close = difflib.get_close_matches(key, known, n=1) or sorted(known)
            name = f"{where}.{key}".lstrip(".")
            raise WorkflowError(f"config: unknown key {name!r}; did you mean {close[0]!r}?")
        raise WorkflowError(f"config: {where}: {error.message}; see rules/config.schema.yaml")


def part_name(part: str | int) -> str:
    """A partition's name in paths: 1_8 for 1/8."""
    return "_".join(Path(str(part)).parts)


def check_names(settings: dict) -> None:
    """What a schema cannot tell, found before hours of work."""
    for dataset in DATASETS:
        try:
            averaged_ids(DATASETS[dataset], settings["data"][dataset]["classes"])
        except InputError as error:
            raise WorkflowError(f"config: data.{dataset}.classes: {error}")
    if "background" in (settings["data"][OWN]["classes"] or []):
        raise WorkflowError(f"config: data.{OWN}.classes has 'background', which is mask id 0 by itself; remove it")
    tagged = settings["pairs"]["tags"]["dataset"]
    if tagged not in DATASETS:
        raise WorkflowError(f"config: pairs.tags.dataset {tagged!r} is not one of {', '.join(DATASETS)}; correct it")
    check_deeplab(settings["deeplab"])
    check_localization(settings["localization"])
    for method, group in (("cwbass", "ablations"), ("mgd", "students")):
        for dataset, changes in settings[method]["datasets"].items():
            new = next((name for name in changes.get(group, {}) if name not in settings[method][group]), None)
            if new is not None:
                key = f"{method}.datasets.{dataset}.{group}.{new}"
                raise WorkflowError(f"config: unknown key {key!r}; {method}.{group} has no {new!r}, name it there")
    if settings["p2at"]["datasets"].get("cityscapes", {}).get("init", settings["p2at"]["init"]) == "cityscapes":
        raise WorkflowError("config: p2at.init is cityscapes for Cityscapes itself; set it to imagenet or none there")
    for dataset, chosen in settings["partitions"].items():
        try:
            find_part(dataset, chosen["protocol"], part_name(chosen["part"]))
        except InputError as error:
            raise WorkflowError(str(error))
    for dataset, tasks in settings["barm"]["tasks"].items():
        for task in tasks:
            try:
                task_steps(DATASETS[dataset], task, settings["barm"]["protocols"])
            except InputError as error:
                raise WorkflowError(str(error))
    if settings["mars"]["provider"] == "external" and not settings["mars"]["external"]:
        raise WorkflowError("config: mars.provider is external; set mars.external to the folder with <image id>.png")


def check_deeplab(settings: dict) -> None:
    backbone, init = settings["network"]["backbone"], settings["init"]
    if init == "coco" and not backbone.endswith("_caffe"):
        raise WorkflowError(
            f"config: deeplab.init is coco, but weights from COCO are published for Caffe's networks only, not {backbone}; "
            "set deeplab.network.backbone to resnet101_caffe or vgg16_caffe"
        )
    searched = settings["crf_search"]["variant"]
    if searched not in settings["variants"]:
        known = ", ".join(settings["variants"])
        raise WorkflowError(f"config: deeplab.crf_search.variant {searched!r} is not one of deeplab.variants ({known})")
    if init != "none" and backbone.endswith("_caffe") and not settings["caffe_weights"]:
        raise WorkflowError(
            f"config: deeplab.caffe_weights is null, but {backbone} starts from a .caffemodel of your own; give its path, "
            "or set deeplab.network.backbone to resnet101 or vgg16 (torchvision's weights)"
        )


def check_localization(settings: dict) -> None:
    backbone = settings["network"]["backbone"]
    for boxset, section in settings["datasets"].items():
        if backbone not in section["backbones"]:
            known = ", ".join(section["backbones"])
            raise WorkflowError(
                f"config: localization.datasets.{boxset}.backbones has no {backbone!r}, only {known}; add it"
            )
    if settings["resize"] < settings["crop"]:
        raise WorkflowError("config: localization.crop is larger than localization.resize; make it smaller")
    if backbone == "mobilenet_v1" and settings["pretrained"] and not settings["weights"]:
        raise WorkflowError(
            f"config: localization.weights is null, but the workflow does not fetch weights of {backbone}; give a "
            "safetensors file, or set localization.pretrained to false"
        )


# What the user gave on the command line becomes the whole configuration, for rules and scripts alike.
config.update(load_settings(typed(config)))

SCALE = config["scale"]
WORK = f"work/{SCALE}"
TINY_CLIP = f"{WORK}/pairs/tiny_clip/network.safetensors"


wildcard_constraints:
    dataset="|".join((*DATASETS, OWN)),
    boxset="|".join(BOXSETS),
    provider="irn|bas|external",
    split="labelled_train|train|val|gallery|crf_search",
    protocol="|".join((*PROTOCOLS, "own")),
    part=r"[0-9_]+|all",
    method="cwbass|mgd",
    row=r"[a-z0-9_]+",
    student="|".join(config["mgd"]["students"]),
    task=r"[A-Za-z0-9_-]+",
    scheme="overlapped|disjoint",
    t=r"\d+",
    source="scenes|tags|imagenet|cc3m|cc12m",


def root_of(dataset: str) -> str | None:
    """A data set's folder: the user's own, the drawn one, or the downloaded one; None for one still to be named."""
    folder = DATASETS[dataset].folder
    root = config["data"][dataset]["root"]
    if root:
        return f"{WORK}/{dataset}/converted" if DATASETS[dataset].converted else root
    if SCALE == "sample":
        return f"{WORK}/{dataset}/{folder}"
    return f"downloads/{dataset}/{folder}" if DATASETS[dataset].downloadable else None


ROLES = {"train": "train_split", "labelled_train": "eval_split", "val": "val_split"}


def lists_of(wildcards) -> dict[str, str]:
    """The role that a split list plays in the workflow, and the list's name in the root."""
    return {role: config["data"][wildcards.dataset][key] for role, key in ROLES.items()}


def made_here(dataset: str) -> bool:
    """Whether a rule makes the root."""
    given = config["data"][dataset]["root"] and not DATASETS[dataset].converted
    return not given and root_of(dataset) is not None


def drawn(dataset: str) -> bool:
    """Whether the images of a data set, or of a localisation set, are scenes that a rule draws."""
    given = config["localization"]["data"] if dataset in BOXSETS else config["data"]
    return SCALE == "sample" and dataset != OWN and not given[dataset]["root"]


def complete_flag(wildcards) -> list[str]:
    """The flag of a root that a rule makes; nothing for the user's own."""
    return [f"{root_of(wildcards.dataset)}/.complete"] if made_here(wildcards.dataset) else []


def list_digests(wildcards) -> list[str | None]:
    """SHA-256 of the user's split lists, None for one that is missing; nothing for a root that a rule makes."""
    if made_here(wildcards.dataset):
        return []
    root = config["data"][wildcards.dataset]["root"]
    return [list_digest(Path(root), wildcards.dataset, name) for name in lists_of(wildcards).values()] if root else []


def files_digest(root: str | None, pattern: str) -> str:
    """SHA-256 of the names and sizes of what a rule converts in the user's root."""
    paths = sorted(Path(root).glob(pattern)) if root else []
    return hashlib.sha256("\n".join(f"{path} {path.stat().st_size}" for path in paths).encode()).hexdigest()


@cache  # every mask is read
def own_digests() -> list[str | None]:
    """What tells that the user's own images (which may be many), masks, tags or list changed."""
    own = config["data"][OWN]
    images = shown_files(own["images"], SUFFIXES) if own["images"] else []
    masks = shown_files(own["masks"], MASK_SUFFIXES) if own["masks"] else []
    seen = [f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in images]
    read = [f"{path} {content_digest(path)}" for path in masks]
    return [
        *(hashlib.sha256("\n".join(lines).encode()).hexdigest() for lines in (seen, read)),
        *(content_digest(own[key]) for key in ("tags", "val")),
    ]


def content_digest(path: str | Path | None) -> str | None:
    """SHA-256 of a file; None where there is none."""
    if path is None or not Path(path).is_file():
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache  # asked for every file of a table; the folder of masks may be large
def scored_roles(dataset: str) -> list[str]:
    """The roles whose images have masks to score on; of the user's own training images, perhaps none has."""
    own = config["data"][OWN]
    return ["val"] if dataset == OWN and not training_masks(own["masks"], own["val"]) else list(ROLES)


def scored_rows(roles: dict[str, str]):
    """The rows of a table, each with its role, that can be scored."""

    def rows(wildcards) -> dict[str, str]:
        return {row: role for row, role in roles.items() if role in scored_roles(wildcards.dataset)}

    return rows


def scored_files(roles: dict[str, str]):
    """Those files that can be made, where each is made of the masks of a role."""

    def files(wildcards) -> list[str]:
        chosen = scored_roles(wildcards.dataset)
        return [file.format(dataset=wildcards.dataset) for file, role in roles.items() if role in chosen]

    return files


def list_digest(root: Path, dataset: str, name: str) -> str | None:
    """SHA-256 of a split list, or of the images' names where there are no lists (Cityscapes, ADE20K)."""
    layout = DATASETS[dataset].layout
    if layout is None:
        return names_digest(root.glob(f"leftImg8bit/{name}/*/*.png"))
    if layout.lists is None:
        return names_digest(root.glob(f"images/{name}/*"))
    return content_digest(root / layout.lists / f"{name}.txt")


def names_digest(paths) -> str:
    return hashlib.sha256("\n".join(sorted(path.name for path in paths)).encode()).hexdigest()


def subset(wildcards) -> bool:
    """Whether a part of the data set will do: the user says so, or there are fewer scenes drawn than cities."""
    return config["data"][wildcards.dataset].get("subset", False) or made_here(wildcards.dataset)


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
    folder = Path(wildcards.store).parent.name
    role = folder if folder in ROLES else "labelled_train"
    return f"{WORK}/{wildcards.dataset}/splits/{role}.txt"


def pretrained(network: str, wanted: bool) -> list[str]:
    """The weight file of a network, where it is to start from published weights."""
    return [f"downloads/weights/{network}.safetensors"] if wanted else []


def student_start() -> dict[str, list[str]]:
    """What the student's backbone starts from."""
    start = config["student_init"]
    return {
        "weights": pretrained(config["student"]["network"]["backbone"], start == "imagenet"),
        "classifier": [f"{WORK}/{{dataset}}/classifier/classifier.safetensors"] if start == "classifier" else [],
    }


def irn_start() -> dict[str, list[str]]:
    """What IRNet's backbone is: published weights, or the trained classifier's."""
    own = config["irn"]["pretrained"]
    return {
        "weights": pretrained(config["irn"]["network"]["backbone"], own),
        "classifier": [] if own else [f"{WORK}/{{dataset}}/classifier/classifier.safetensors"],
    }


def affinity(irn: dict) -> dict:
    """Parameters of the labels that IRNet learns from."""
    return {
        **only(irn, "foreground", "background", "gt_prob"),
        "code": code("tags/affinity_labels.py"),
        "crf": config["crf"]["irn"],
        "short_side": short_side,
    }


def walking(irn: dict) -> dict:
    """Parameters of the random walk."""
    return {
        **only(irn, "walk", "cam_power"),
        **varied("irn", "crop_size"),
        "code": code("tags/random_walk.py"),
        "background": irn["walk_background"],
        "short_side": short_side,
    }


def bas_start() -> dict[str, list[str]]:
    """What BAS's backbone starts from."""
    start = config["bas"]["init"]
    return {
        "weights": pretrained(config["bas"]["network"]["backbone"], start == "imagenet"),
        "classifier": [f"{WORK}/{{dataset}}/classifier/classifier.safetensors"] if start == "classifier" else [],
    }


# What `snakemake --report` calls the targets of a method.
CATEGORIES = {
    "mars": "MARS (Jo et al., ICCV 2023)",
    "bas": "BAS (Wu et al., CVPR 2022)",
    "deeplab": "DeepLab v2 (Chen et al., TPAMI 2017)",
    "cwbass": "CW-BASS (IJCNN 2025)",
    "mgd": "MGD (Qin et al., ECCV 2022)",
    "p2at": "P2AT (Elhassan et al., 2024)",
    "barm": "BARM (ECCV 2024)",
    "mixreorg": "MixReorg (ICCV 2023)",
    "zeroseg": "ZeroSeg (ICCV 2023)",
}


def shown(method: str, shows: str, caption: str, dataset: str = "{dataset}") -> dict:
    """How `snakemake --report` presents a table or a picture: where, under which name, with which text."""
    return {
        "caption": f"../report/{caption}.rst",
        "category": CATEGORIES[method],
        "subcategory": dataset,
        "labels": {"shows": shows},
    }


def asked_tables(wildcards) -> list[str]:
    """What is made in this call besides the costs: the files and rules that were named, or all targets."""
    named = workflow.dag_settings.targets
    if not named or "all" in named:
        return [f"results/{target}.csv" for target in TARGETS]
    outputs = {name: workflow.get_rule(name).output for name in named if workflow.is_rule(name)}
    files = {str(file) for name in named for file in outputs.get(name, [name])}
    return sorted(file for file in files if not file.startswith("results/costs."))


def last_measured(wildcards) -> int | None:
    """When the last stage ended, where costs are asked for alone: they are counted again if there is something new."""
    if asked_tables(wildcards):
        return None
    files = (path for path in Path(f"benchmarks/{SCALE}").rglob("*.tsv") if path.name != "costs.tsv")
    return max((path.stat().st_mtime_ns for path in files), default=0)


def growing(amount: int):
    """A resource of which every retry gets more: a job that was killed for memory or time wants it.

    A training's run time does not grow, for it resumes: three times two days are more than a partition allows.
    """
    return lambda wildcards, attempt: attempt * amount


def all_cores() -> int:
    """This machine's cores, for a stage that measures time; on a cluster, as many as a training has."""
    return workflow.resource_settings.cores or config["resources"]["threads_train"]


def only(section: dict, *keys: str) -> dict:
    return {key: section[key] for key in keys}


def without(section: dict, *keys: str) -> dict:
    return {key: value for key, value in section.items() if key not in keys}


def training() -> dict:
    """What every training has for parameters."""
    return {"seed": config["seed"], "max_iterations": config["max_iterations"], "short_side": short_side}


def labels_of(variant: str) -> str:
    """The pseudo labels a student variant learns from."""
    folder = "{provider}" if variant == "baseline" else "mars/{provider}"
    return f"{WORK}/{{dataset}}/{folder}/pseudo_labels.h5"


def deeplab_head(wildcards) -> dict:
    """Rates and scales of a variant of DeepLab v2."""
    return config["deeplab"]["variants"][wildcards.variant]


def deeplab_ids(wildcards) -> str:
    """The id list of the images to predict: a split, or the ones that the CRF's setting is searched on."""
    folder = "deeplab" if wildcards.split == "crf_search" else "splits"
    return f"{WORK}/{wildcards.dataset}/{folder}/{wildcards.split}.txt"


def caffe_weights() -> str | list:
    """The .caffemodel that the user gave."""
    return config["deeplab"]["caffe_weights"] or []


def deeplab_weights() -> list[str]:
    """What DeepLab's backbone starts from: nothing, published weights, or the user's .caffemodel."""
    backbone, init = config["deeplab"]["network"]["backbone"], config["deeplab"]["init"]
    if init == "none":
        return []
    if backbone.endswith("_caffe"):
        return [f"{WORK}/weights/caffe/{backbone}.safetensors"]
    return pretrained(backbone, True)


def partition_of(dataset: str) -> str:
    """Folder of the partition that the configuration chooses."""
    if dataset == OWN:
        return f"{WORK}/{OWN}/partitions/own/all"
    chosen = config["partitions"][dataset]
    return f"{WORK}/{dataset}/partitions/{chosen['protocol']}/{part_name(chosen['part'])}"


def list_sources(wildcards) -> dict[str, str | None]:
    """The user's lists for a partition: files or URLs."""
    return only(config["partitions"][wildcards.dataset], "order", "labelled", "unlabelled")


def given_lists(wildcards) -> list[str]:
    """Those of them that are files."""
    return [source for source in list_sources(wildcards).values() if source and "://" not in source]


def boxset_settings(boxset: str) -> dict:
    """Where a localisation set lies: the user's own, the drawn one, or the downloaded one."""
    given = config["localization"]["data"][boxset]
    if given["root"]:
        return given
    if SCALE == "sample":
        root = f"{WORK}/{boxset}/scenes"
        lists = {"images": f"{root}/heldout/images", "lists": f"{root}/heldout/lists"}
        return {"root": root, "boxes": f"{root}/boxes", "heldout": lists}
    return given | {"root": f"downloads/{boxset}/{BOXSETS[boxset].folder}" if BOXSETS[boxset].archive else None}


def boxset_value(key: str):
    """A value of `boxset_settings` for the wildcard's set."""

    def value(wildcards):
        return boxset_settings(wildcards.boxset).get(key)

    return value


def boxset_flag(wildcards) -> list[str]:
    """The flag of a localisation set that a rule makes; nothing for the user's own."""
    root = boxset_settings(wildcards.boxset)["root"]
    return [] if root is None or config["localization"]["data"][wildcards.boxset]["root"] else [f"{root}/.complete"]


def boxset_digests(wildcards) -> list[str]:
    """SHA-256 of the user's lists."""
    given = config["localization"]["data"][wildcards.boxset]
    folders = filter(None, [given["root"], given["heldout"] and given["heldout"]["lists"]])
    paths = [path for folder in folders for path in sorted(Path(folder).glob("*.txt"))]
    boxes = Path(given.get("boxes") or "")
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in (*paths, *([boxes] if boxes.is_file() else []))]


def localization_setting(key: str):
    """A value of a localisation set's section, or of its backbone's row in it."""

    def value(wildcards):
        section = config["localization"]["datasets"][wildcards.boxset]
        return (section | section["backbones"][config["localization"]["network"]["backbone"]])[key]

    return value


def localization_settings(*keys: str) -> dict:
    return {key: localization_setting(key) for key in keys}


def author_setting(wildcards) -> dict:
    """Threshold and top-k that the authors found for BAS; each null where there is none, and for the baseline."""
    found = wildcards.variant == "bas"
    return {key: localization_setting(key)(wildcards) if found else None for key in ("top_k", "threshold")}


def all_top_k(wildcards) -> list[int]:
    """The values of k that maps are kept for."""
    return sorted(
        {
            *config["localization"]["top_k"],
            localization_setting("top_k")(wildcards) or 1,
        }
    )


def localizer_weights() -> list[str]:
    """What a localiser's backbone starts from: the user's file, published weights, or nothing."""
    settings = config["localization"]
    if settings["pretrained"] and settings["weights"]:
        return [settings["weights"]]
    return pretrained(settings["network"]["backbone"], settings["pretrained"])


def method_settings(method: str, dataset: str) -> dict:
    """A method's section, with what differs for a data set laid over it."""
    return merged(without(config[method], "datasets"), config[method]["datasets"].get(dataset, {}))


def setting(method: str, key: str):
    """A value of a method's section for the wildcard's data set."""

    def value(wildcards):
        return method_settings(method, wildcards.dataset)[key]

    return value


def varied(method: str, *keys: str) -> dict:
    """Parameters of a rule: settings of a method, of which some differ between data sets."""
    return {key: setting(method, key) for key in keys}


def window(wildcards) -> int | None:
    """Side of the sliding windows that a method is evaluated with; None for whole images."""
    return method_settings(wildcards.method, wildcards.dataset).get("window")


def crop_of(wildcards) -> int:
    """Side of a method's training crops."""
    return method_settings(wildcards.method, wildcards.dataset)["augmentation"]["crop"]


def varied_in(method: str, section: str, *keys: str) -> dict:
    """The same of settings in a part of a method's section."""

    def value(key):
        return lambda wildcards: method_settings(method, wildcards.dataset)[section][key]

    return {key: value(key) for key in keys}


def cwbass_weights(wildcards) -> list[str]:
    """The pretrained weights of CW-BASS's network, as a list of no or one file."""
    settings = method_settings("cwbass", wildcards.dataset)
    return pretrained(settings["network"]["backbone"], settings["pretrained"])


def cwbass_teacher(file: str):
    """A file that the variant `paper` reads: the teacher, its labels or its confidence. The others' teacher is online."""

    def files(wildcards):
        return [file] if method_settings("cwbass", wildcards.dataset)["variant"] == "paper" else []

    return files


def cwbass_loss(wildcards) -> dict:
    """The loss of one of CW-BASS's ablations."""
    settings = method_settings("cwbass", wildcards.dataset)
    return merged(settings["loss"], settings["ablations"][wildcards.ablation])


def cwbass_rows(dataset: str) -> list[str]:
    """The rows of CW-BASS's table: its teacher, and the student of every ablation."""
    return ["supervised", *wanted("cwbass", "ablations", dataset)]


def mgd_network(group: str, wildcard: str, key: str):
    """A value of one of MGD's teachers or students."""

    def value(wildcards):
        return method_settings("mgd", wildcards.dataset)[group][wildcards[wildcard]][key]

    return value


def mgd_weights(group: str, wildcard: str):
    """The pretrained weights of one of MGD's `teachers` or `students`, as a list of no or one file."""

    def weights(wildcards):
        backbone = mgd_network(group, wildcard, "network")(wildcards)["backbone"]
        return pretrained(weights_of(backbone), setting("mgd", "pretrained")(wildcards))

    return weights


def mgd_ohem(role: str):
    """Pixels an image that the hard-pixel loss keeps; None for the plain cross entropy."""

    def value(wildcards):
        kept = method_settings("mgd", wildcards.dataset)["ohem"]
        return kept and kept[role]

    return value


def mgd_epochs(wildcards) -> float:
    """Epochs of MGD's students: one number, or that of the wildcard's partition."""
    epochs = method_settings("mgd", wildcards.dataset)["epochs"]
    if not isinstance(epochs, dict):
        return epochs
    of_part = {part_name(part): number for part, number in epochs.items()}
    if wildcards.part not in of_part:
        raise WorkflowError(
            f"config: mgd.epochs has no number for partition {wildcards.protocol}/{wildcards.part} of {wildcards.dataset}, "
            f"only for {', '.join(map(str, epochs))}; add one there, or give a single number"
        )
    return of_part[wildcards.part]


def mgd_teacher_epochs(wildcards) -> float:
    """Epochs of MGD's teachers; as many as its students' where none are given."""
    return method_settings("mgd", wildcards.dataset)["teacher_epochs"] or mgd_epochs(wildcards)


def mgd_cached_epochs(wildcards) -> float:
    """Epochs of batches that teachers are asked about; as many as the students have where none are given."""
    return method_settings("mgd", wildcards.dataset)["cached_epochs"] or mgd_epochs(wildcards)


def mgd_stores(files: list[str]):
    """The stores that a student reads; none where its teachers run beside it."""
    return lambda wildcards: files if wildcards.mode == "cached" else []


def weights_of(backbone: str) -> str:
    """The weight file that a backbone shares with another: those with a deep stem, and cut ones."""
    shared = {
        "resnet18_deep": "resnet18",
        "resnet101_deep": "resnet101",
        "efficientnet_lite0_light": "efficientnet_lite0",
    }
    return shared.get(backbone, backbone)


def wanted(method: str, group: str, dataset: str) -> list[str]:
    """The names in a group of rows; null leaves a row out, of all tables or of a data set's."""
    of_dataset = method_settings(method, dataset)[group]
    return [name for name in config[method][group] if None not in (config[method][group][name], of_dataset[name])]


def mgd_pairs(dataset: str) -> list[list[str]]:
    """Every one of MGD's students, alone and taught."""
    mode = method_settings("mgd", dataset)["mode"]
    return [[f"{student}_supervised", f"{student}_{mode}"] for student in wanted("mgd", "students", dataset)]


def mgd_rows(dataset: str) -> list[str]:
    """The rows of MGD's table: its teachers, and its students."""
    return ["teacher_deep", "teacher_wide", *(row for pair in mgd_pairs(dataset) for row in pair)]


def p2at_variant(key: str):
    """A value of one of P2AT's variants."""

    def value(wildcards):
        return method_settings("p2at", wildcards.dataset)["variants"][wildcards.variant][key]

    return value


def p2at_network(wildcards) -> dict:
    """What a variant's network is built with; the plain baseline has none of P2AT's switches."""
    variant = method_settings("p2at", wildcards.dataset)["variants"][wildcards.variant]
    switches = config["p2at"]["network"] if variant["architecture"] == "P2AT" else {}
    return {"backbone": variant["backbone"], **switches}


def p2at_weights(wildcards) -> list[str]:
    """The paper's L starts from torchvision's second weights for ResNet-50 (spec 3.1)."""
    backbone = p2at_variant("backbone")(wildcards)
    name = "resnet50_v2" if backbone == "resnet50" else backbone
    return pretrained(name, method_settings("p2at", wildcards.dataset)["init"] == "imagenet")


def p2at_start(wildcards) -> list[str]:
    """The same variant trained on Cityscapes, where a data set's training starts from that."""
    if method_settings("p2at", wildcards.dataset)["init"] != "cityscapes":
        return []
    return [f"{WORK}/cityscapes/p2at/{wildcards.variant}/network.safetensors"]


def speed_setting(key: str):
    """A value of P2AT's speed table for the wildcard's data set."""

    def value(wildcards):
        return method_settings("p2at", wildcards.dataset)["speed"][key]

    return value


def exported_checkpoint(method: str, dataset: str) -> str:
    """The checkpoint of a method's model, whose name is the wildcard `network`."""
    if method == "mars":
        return f"{WORK}/{dataset}/students/{config['mars']['provider']}/{{network}}/student.safetensors"
    if method == "p2at":
        return f"{WORK}/{dataset}/p2at/{{network}}/network.safetensors"
    mode = f"_{method_settings('mgd', dataset)['mode']}" if method == "mgd" else ""
    return f"{partition_of(dataset)}/{method}/{{network}}{mode}/network.safetensors"


def of_partition(method: str, rows, name: str):
    """A file of every row of a method (`rows` of a data set), in the folder of the chosen partition."""

    def files(wildcards):
        return [str(Path(partition_of(wildcards.dataset), method, row, name)) for row in rows(wildcards.dataset)]

    return files


def partition_manifest(wildcards) -> list[str]:
    """The counts and sources of the chosen partition."""
    return [str(Path(partition_of(wildcards.dataset), "manifest.json"))]


def barm_tasks() -> list[tuple[str, str]]:
    """Data set and name of all class-incremental tasks."""
    return [(dataset, task) for dataset, tasks in config["barm"]["tasks"].items() for task in tasks]


def barm_steps(dataset: str, task: str) -> list[list[int]]:
    """Class ids of each step of a task."""
    return [list(classes) for classes in task_steps(DATASETS[dataset], task, config["barm"]["protocols"])]


def task_classes(wildcards) -> list[list[int]]:
    """Class ids of each step of the wildcard's task."""
    return barm_steps(wildcards.dataset, wildcards.task)


def classes_up_to(wildcards) -> list[list[int]]:
    """Those of the steps up to t."""
    return task_classes(wildcards)[: int(wildcards.t) + 1]


def step_list(dataset: str, task: str, scheme: str, t: int) -> str:
    """The id list of a step."""
    return f"{WORK}/{dataset}/barm/{task}/{scheme}/steps/step{t}.txt"


def step_lists(wildcards) -> list[str]:
    """The id lists of all steps of the wildcard's task."""
    steps = range(len(task_classes(wildcards)))
    return [step_list(wildcards.dataset, wildcards.task, wildcards.scheme, t) for t in steps]


def lists_up_to(wildcards) -> list[str]:
    """Those of the steps up to t."""
    return step_lists(wildcards)[: int(wildcards.t) + 1]


def joint_lengths(wildcards) -> list[dict]:
    """Epochs and batch size of the steps up to t."""
    section = method_settings("barm", wildcards.dataset)
    recipes = [section["later" if t else "first"] for t in range(int(wildcards.t) + 1)]
    return [only(recipe, "epochs", "batch_size") for recipe in recipes]


def step_file(dataset: str, task: str, scheme: str, variant: str, t: int, name: str) -> str:
    """A file of a variant after a step; step 0 is the same for all."""
    return f"{WORK}/{dataset}/barm/{task}/{scheme}/{variant if t else 'joint'}/step{t}/{name}"


def previous_step(wildcards) -> str:
    """The checkpoint that a step starts from."""
    t = int(wildcards.t) - 1
    return step_file(wildcards.dataset, wildcards.task, wildcards.scheme, wildcards.variant, t, "network.safetensors")


def of_steps(variants: list[str], name: str):
    """A file of every step, one variant after the other."""

    def files(wildcards):
        place, steps = (wildcards.dataset, wildcards.task, wildcards.scheme), range(len(task_classes(wildcards)))
        return [step_file(*place, variant, t, name) for variant in variants for t in steps]

    return files


def barm_scores(dataset: str) -> dict[str, str]:
    """Rows of BARM's table and their scores: every step of every task, then what comes out in the end."""
    scheme, name = config["barm"]["scheme"], f"{config['barm']['eval_policy']}_scores.csv"
    rows, results = {}, {}
    for task in config["barm"]["tasks"][dataset]:
        place, last = (dataset, task, scheme), len(barm_steps(dataset, task)) - 1
        rows[f"{task}/step0"] = step_file(*place, "joint", 0, name)
        for variant in BARM_VARIANTS:
            for t in range(1, last):
                rows[f"{task}/{variant}/step{t}"] = step_file(*place, variant, t, name)
        for variant in (*BARM_VARIANTS, "joint"):
            results[f"{task}/{variant}"] = step_file(*place, variant, last, name)
    return rows | results


def barm_trainings(wildcards) -> list[str]:
    """The checkpoints behind BARM's table, step by step."""
    paths = []
    for task in config["barm"]["tasks"][wildcards.dataset]:
        place = (wildcards.dataset, task, config["barm"]["scheme"])
        last = len(barm_steps(wildcards.dataset, task)) - 1
        later = [(variant, t) for variant in BARM_VARIANTS for t in range(1, last + 1)]
        paths += [step_file(*place, *step, "network.safetensors") for step in (("joint", 0), *later, ("joint", last))]
    return paths


def barm_beside(wildcards) -> list[str]:
    """What is made with BARM's table: forgetting, costs and pseudo labels of each task."""
    scheme = config["barm"]["scheme"]
    return [
        f"results/barm_{wildcards.dataset}_{task}_{scheme}_{name}"
        for task in config["barm"]["tasks"][wildcards.dataset]
        for name in ("forgetting.csv", "steps.csv")
    ]


def pair_files(sources: list[str], suffix: str) -> list[str]:
    """The shards of image-text pairs (.tar), or their indices (.json)."""
    return [path for source in sources for path in gather.images(f"{WORK}/pairs/{source}/{{scatteritem}}{suffix}")]


def prompt_names(method: str):
    """What stands in the prompts for a data set's classes, those that are scored, by mask id."""

    def names(wildcards) -> dict[int, str]:
        scored = averaged_ids(DATASETS[wildcards.dataset], averaged_classes(wildcards))
        words = class_words(method, wildcards.dataset)
        return {i: word for i, word in words.items() if scored is None or i in scored}

    return names


def class_words(method: str, dataset: str) -> dict[int, str]:
    """What texts call a data set's classes, by mask id; drawn scenes are called what their captions say."""
    about = DATASETS[dataset]
    if drawn(dataset):
        ids = stand_in_ids(about)
        return {int(ids[i]): name for i, name in enumerate(DATASETS["voc"].classes) if i}
    given = method_settings(method, dataset).get("names", {})
    return {i: given.get(name, name) for i, name in enumerate(about.classes) if i or not about.has_background}


def left_out_classes(wildcards) -> list[str]:
    """The classes that no caption named, where an open-vocabulary method learned from a data set's tags."""
    tags = config["pairs"]["tags"]
    learned = wildcards.store.startswith("zeroseg/") and "tags" in config["zeroseg"]["pairs"]
    return tags["left_out"] if learned and wildcards.dataset == tags["dataset"] else []


def without_background(wildcards) -> list[str]:
    """The store of an open-vocabulary row's labels without the background's rule; none for other methods."""
    if not wildcards.store.startswith(("mixreorg/", "zeroseg/")):
        return []
    method, *row, split, _ = wildcards.store.split("/")
    inner = [] if "image_level" in row else ["foreground"]
    return [str(Path(WORK, wildcards.dataset, method, *row, *inner, split, "argmax.h5"))]


def zeroseg_teacher() -> str | list:
    """The weights of ZeroSeg's teacher: the user's file, or those of the model that is trained here."""
    if config["zeroseg"]["teacher"] == "tiny":
        return TINY_CLIP
    return config["zeroseg"]["teacher_weights"] or []


def first_stem(method: str) -> list[str]:
    """What an open-vocabulary network's stem starts from: the small image-text model, or nothing."""
    return [TINY_CLIP] if config[method]["stem_init"] == "tiny_clip" else []


def finds_background(method: str):
    """Whether an open-vocabulary method tells a data set's background from its classes, by a threshold."""
    return lambda wildcards: method_settings(method, wildcards.dataset)["threshold"] is not None


def background_counts(wildcards) -> bool:
    """Whether a store's background is scored: everywhere but where an open-vocabulary method does not look for it."""
    method = wildcards.store.split("/")[0]
    return method not in ("mixreorg", "zeroseg") or finds_background(method)(wildcards)


def curves_of(method: str):
    """The picture of an open-vocabulary table's threshold curves; none where no threshold finds the background."""

    def curves(wildcards) -> list[str]:
        picture = f"results/{method}_{wildcards.dataset}_curves.png"
        return [picture] if finds_background(method)(wildcards) else []

    return curves


def finished_tables(wildcards) -> list[str]:
    """The result tables that are there, of whatever scale and seed."""
    return sorted(str(path) for end in ("miou", "localization") for path in Path("results").glob(f"*_{end}.csv"))


def finished_contents(wildcards) -> list[str]:
    """SHA-256 of those tables."""
    return [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in finished_tables(wildcards)]

"""What three or more rules files use: the configuration, paths, parameters by name, the methods' register."""

import os
import signal
import sys
from functools import cache, reduce
from pathlib import Path

from snakemake.exceptions import WorkflowError

# The folder of this checkout, also where another Snakefile includes it.
ROOT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parent
if set("{}") & set(str(ROOT)):
    raise WorkflowError(f"config: {ROOT}: Snakemake takes braces in this folder's name for wildcards; rename it")
sys.path.insert(0, str(ROOT / "workflow_scripts"))  # the library of this checkout, whichever one is installed
from maskmill.data.catalog import DATASETS, OWN
from maskmill.errors import InputError
from maskmill.networks.weights import WEIGHTS
from maskmill.workflow.digest import parameters_of
from maskmill.workflow.plan import Plan, share_library
from maskmill.workflow.settings import load_settings, merged, part_name, with_words
from maskmill.workflow.tables import Row, Scoring, Table
from maskmill.workflow.warm import ADDRESS, start_scripts_warm

share_library(ROOT / "workflow_scripts")


def given() -> dict:
    """What the user gave. --config concerns the whole call, so that a module with a configuration of its own has none."""
    if config is not workflow.modifier_stack[0].globals["config"]:
        return config
    command_line = workflow.config_settings
    return with_words(config, command_line.config, command_line.config_args)


# What the user gave on the command line becomes the whole configuration, for rules and scripts alike.
try:
    config.update(load_settings(ROOT, given()))
    PLAN = Plan(
        planning=workflow.is_main_process, settings=config, rules=[ROOT / "Snakefile", *ROOT.glob("rules/*.smk")]
    )
except InputError as error:
    raise WorkflowError(str(error))


def explain_sigterm() -> None:
    """Say what a SIGTERM does before Snakemake does it: it waits for the jobs that run, without a word."""
    wait = signal.getsignal(signal.SIGTERM)

    def explained(number, frame):
        print(
            "config: Snakemake was told to end (SIGTERM): it starts nothing more and waits for the jobs that run, be it "
            f"hours; to end them now: kill -KILL {os.getpid()}, then the same command with --unlock and once more with "
            "--rerun-incomplete, where trainings go on from their last state",
            file=sys.stderr,
            flush=True,
        )
        wait(number, frame)

    if callable(wait):
        signal.signal(signal.SIGTERM, explained)


onstart:
    explain_sigterm()


SCALE = config["scale"]
if workflow.is_main_process and (SCALE == "sample" or ADDRESS in os.environ):
    start_scripts_warm()
PUBLISHED_WEIGHTS = "downloads/weights/{network}.safetensors"
WITH_BACKGROUND = [*(name for name in DATASETS if DATASETS[name].has_background), OWN]

# Methods register themselves: each rules file adds its table, and further targets of `rule all`. Where its labels are
# not scored as those of other methods, it adds a Scoring under the name of the folder that the labels lie in.
TABLES: dict[str, Table] = {}
MORE_TARGETS: list[str] = []
SCORINGS: dict[str, Scoring] = {}


wildcard_constraints:
    dataset="|".join((*DATASETS, OWN)),
    split="labelled_train|train|val|gallery|crf_search",
    row=r"[a-z0-9_]+",


def work(path: str) -> str:
    """A file in the work folder of this scale."""
    return f"work/{SCALE}/{path}"


def logs(name: str) -> str:
    """The log of a job."""
    return f"logs/{SCALE}/{name}.log"


def benchmarks(name: str) -> str:
    """The file with a job's run time and memory."""
    return f"benchmarks/{SCALE}/{name}.tsv"


def growing(amount: int):
    """A resource that grows with every retry, since too little memory or time may have ended the job.

    The run time of a training does not grow: a training resumes, and three times two days are more than a partition
    allows.
    """
    return lambda wildcards, attempt: attempt * amount


@cache
def section(path: str, dataset: str | None = None) -> dict:
    """A section of the configuration, such as mgd or barm.later, with what differs for a data set laid over it."""
    method, *inner = path.split(".")
    settings = merged(config[method], config[method].get("datasets", {}).get(dataset) or {})
    return reduce(dict.__getitem__, inner, settings)


@cache
def sections_of(paths: tuple[str, ...], dataset: str | None) -> dict:
    """Several sections as one; where two have a key, the later one counts."""
    return reduce(merged, (section(path, dataset) for path in paths), {})


def setting(*path: str):
    """The value of a setting, named by its section and keys, for the data set of a job."""

    def value(wildcards):
        return reduce(dict.__getitem__, path[1:], section(path[0], wildcards.get("dataset")))

    return value


def setting_of(method: str, group: str, wildcard: str):
    """For settings of one entry of a group, such as mgd's `teachers`, which a wildcard of the job names.

    Returns a function of the setting's key; what that gives is a function of the job, as `setting` gives.
    """
    return lambda key: lambda wildcards: section(method, wildcards.get("dataset"))[group][wildcards[wildcard]][key]


def settings_for(script: str, *sections: str, but: tuple[str, ...] = (), **own) -> dict:
    """The parameters of a rule, by the names that `main` of its script has.

    These are the settings of the given sections of the configuration that `main` takes, `seed`, `max_iterations`,
    `short_side` and `scale` where it takes them, and the digest of the code. What changes one of them, and nothing
    else, reruns the rule.

    Args:
        script: the script's path in workflow_scripts/.
        sections: such as "mgd" or "barm.later"; of two with the same key, the later one counts.
        but: keys that mean something else in `main`, where an input or an output has that name.
        own: parameters with other names or values than the configuration's.
    """
    shared = {
        "seed": config["seed"],
        "max_iterations": config["max_iterations"],
        "short_side": short_side,
        "scale": SCALE,
    }
    known = setting_names(sections)
    taken = [name for name in parameters_of(script) if name not in own and name not in but]
    of_sections = {name: setting_in(sections, name) for name in taken if name in known}
    values = {name: shared[name] for name in taken if name in shared} | of_sections | own | {"code": PLAN.code(script)}
    return {name: as_it_is(value) for name, value in values.items()}


def as_it_is(value):
    """A parameter whose braces Snakemake leaves alone, as in a class called {cat}: what functions return is no pattern."""
    return (lambda wildcards: value) if isinstance(value, (str, list)) and "{" in str(value) else value


def setting_names(sections: tuple[str, ...]) -> set[str]:
    """The keys of several sections, for whatever data set."""
    datasets = {dataset for path in sections for dataset in config[path.split(".")[0]].get("datasets", {})}
    return {key for dataset in (None, *datasets) for key in sections_of(sections, dataset)}


def setting_in(sections: tuple[str, ...], key: str):
    """A setting's value, which is a function of the job where settings may differ between data sets."""
    if any("datasets" in config[path.split(".")[0]] for path in sections):
        return lambda wildcards: sections_of(sections, wildcards.get("dataset"))[key]
    return sections_of(sections, None)[key]


def kept(method: str, group: str, dataset: str) -> list[str]:
    """The names in a group of a method's rows; null leaves a row out, of all tables or of a data set's."""
    of_dataset = section(method, dataset)[group]
    return [name for name in config[method][group] if None not in (config[method][group][name], of_dataset[name])]


def short_side(wildcards) -> int | None:
    """Working size of a data set's images, in pixels."""
    return config["data"][wildcards.dataset]["short_side"]


def averaged_classes(wildcards) -> list[str] | None:
    """Names of the classes that a data set's scores are averaged over; None for all."""
    return config["data"][wildcards.dataset]["classes"]


def ids_of(role: str) -> str:
    """The id list that plays a role (train, labelled_train, val) in the workflow."""
    return work(f"{{dataset}}/splits/{role}.txt")


def drawn(dataset: str) -> bool:
    """Whether the images of a data set, or of a set of boxes, are scenes that a rule draws."""
    if dataset == OWN:
        return False
    given = config["data"] if dataset in config["data"] else config["localization"]["data"]
    return SCALE == "sample" and not given[dataset]["root"]


def pretrained(backbone: str, wanted: bool = True) -> list[str]:
    """The published weights that a backbone starts from, as a list of no or one file; a file of the user's may lie there.

    Backbones that differ from another one only in stem or length share its weights.
    """
    if not wanted:
        return []
    same_weights = {
        "resnet18_deep": "resnet18",
        "resnet101_deep": "resnet101",
        "efficientnet_lite0_light": "efficientnet_lite0",
    }
    network = same_weights.get(backbone, backbone)
    file = PUBLISHED_WEIGHTS.format(network=network)
    if network not in WEIGHTS and not Path(file).exists():
        raise WorkflowError(
            f"config: no weights of {backbone} are published; put yours at {file}, or let it start without "
            "(pretrained: false; init: none or random)"
        )
    return [file]


def starting_points(init: str, backbone: str) -> dict[str, list[str]]:
    """What a backbone starts from, as inputs of a training: published weights, the trained classifier, or nothing."""
    return {
        "weights": pretrained(backbone, init == "imagenet"),
        "classifier": [work("{dataset}/classifier/classifier.safetensors")] if init == "classifier" else [],
    }


def in_report(method: str, shows: str, caption: str, dataset: str = "{dataset}") -> dict:
    """How `snakemake --report` presents a table or a picture: where, under which name, with which text."""
    return {
        "caption": f"../report/{caption}.rst",
        "category": TABLES[method].title,
        "subcategory": dataset,
        "labels": {"shows": shows},
    }


def all_targets() -> list[str]:
    """What `rule all` makes besides the costs."""
    tables = [f"results/{method}_{dataset}_miou.csv" for method, table in TABLES.items() for dataset in table.default]
    return [*tables, *MORE_TARGETS]

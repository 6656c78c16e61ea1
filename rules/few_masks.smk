"""Few masks: which images have masks, and what the semi-supervised methods share.

A method that learns from a partition has a row per network in the folder partitions/<protocol>/<part>/<method>/<row>.
"""

from maskmill.data.partitions import PROTOCOLS

PARTITION = work("{dataset}/partitions/{protocol}/{part}")
PARTITIONED = [*config["partitions"], OWN]  # data sets
SCORINGS["partitions"] = Scoring(boundary=True)


wildcard_constraints:
    protocol="|".join((*PROTOCOLS, "own")),
    part=r"[0-9_]+|all",


def partition_of(dataset: str) -> str:
    """Folder of the partition that the configuration chooses."""
    if dataset == OWN:
        return work(f"{OWN}/partitions/own/all")
    chosen = config["partitions"][dataset]
    return work(f"{dataset}/partitions/{chosen['protocol']}/{part_name(chosen['part'])}")


def partition_manifest(dataset: str) -> list[str]:
    """The counts and sources of the chosen partition."""
    return [f"{partition_of(dataset)}/manifest.json"]


def list_sources(wildcards) -> dict[str, str | None]:
    """The user's lists for a partition: files or URLs."""
    return {key: config["partitions"][wildcards.dataset][key] for key in ("order", "labelled", "unlabelled")}


def given_lists(wildcards) -> list[str]:
    """Those of the user's lists that are files."""
    return [source for source in list_sources(wildcards).values() if source and "://" not in source]


def partition_rows(method: str, names: list[str], dataset: str) -> list[Row]:
    """The rows of a table of networks that learned from the chosen partition."""
    folder = f"{partition_of(dataset)}/{method}"
    return [Row(name, f"{folder}/{name}/val/argmax_scores.csv", cost=f"{folder}/{name}/cost.csv") for name in names]


def partition_trainings(method: str, names: list[str], dataset: str) -> list[str]:
    """The checkpoints of those networks."""
    return [f"{partition_of(dataset)}/{method}/{name}/network.safetensors" for name in names]


def window(wildcards) -> int | None:
    """Side of the sliding windows that a method is evaluated with; None for whole images."""
    return section(wildcards.method, wildcards.dataset).get("window")


def window_margin(wildcards) -> str:
    """The colour of margins of images of which only one side is shorter than the windows."""
    return section(wildcards.method, wildcards.dataset).get("window_margin", "official")


def crop_size(wildcards) -> int:
    """Side of a method's training crops."""
    return section(wildcards.method, wildcards.dataset)["augmentation"]["crop"]


rule partition:
    input:
        given_lists,
        ids=ids_of("train"),
        high_quality=ids_of("labelled_train"),
    output:
        labelled=f"{PARTITION}/labelled.txt",
        unlabelled=f"{PARTITION}/unlabelled.txt",
        manifest_file=f"{PARTITION}/manifest.json",
    log:
        logs("{dataset}/partition/{protocol}_{part}"),
    benchmark:
        benchmarks("{dataset}/partition/{protocol}_{part}")
    wildcard_constraints:
        dataset="|".join(config["partitions"]),
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(500),
        runtime=growing(10),
    params:
        **settings_for(
            "few_masks/partition.py",
            sources=list_sources,
            sha256=lambda wildcards: config["partitions"][wildcards.dataset]["sha256"],
        ),
    script:
        "../workflow_scripts/few_masks/partition.py"


rule partition_own:
    input:
        ids=work(f"{OWN}/splits/train.txt"),
        with_masks=work(f"{OWN}/splits/labelled_train.txt"),
    output:
        labelled=f"{partition_of(OWN)}/labelled.txt",
        unlabelled=f"{partition_of(OWN)}/unlabelled.txt",
        manifest_file=f"{partition_of(OWN)}/manifest.json",
    log:
        logs(f"{OWN}/partition_own"),
    benchmark:
        benchmarks(f"{OWN}/partition_own")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(500),
        runtime=growing(10),
    params:
        **settings_for("few_masks/partition_own.py"),
    script:
        "../workflow_scripts/few_masks/partition_own.py"


rule predict_labels:
    input:
        index=work("{dataset}/index.csv"),
        ids=ids_of("{split}"),
        checkpoint=f"{PARTITION}/{{method}}/{{row}}/network.safetensors",
    output:
        maps=f"{PARTITION}/{{method}}/{{row}}/{{split}}/argmax/{{scatteritem}}.h5",
    log:
        logs("{dataset}/predict_labels/{protocol}_{part}_{method}_{row}_{split}/{scatteritem}"),
    benchmark:
        benchmarks("{dataset}/predict_labels/{protocol}_{part}_{method}_{row}_{split}/{scatteritem}")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("results/predict_labels.py", window=window, margin=window_margin),
    script:
        "../workflow_scripts/results/predict_labels.py"


rule measure_cost:
    input:
        checkpoint=f"{PARTITION}/{{method}}/{{row}}/network.safetensors",
    output:
        cost_table=f"{PARTITION}/{{method}}/{{row}}/cost.csv",
    log:
        logs("{dataset}/measure_cost/{protocol}_{part}_{method}_{row}"),
    benchmark:
        benchmarks("{dataset}/measure_cost/{protocol}_{part}_{method}_{row}")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(20),
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("results/measure_cost.py", size=crop_size),
    script:
        "../workflow_scripts/results/measure_cost.py"

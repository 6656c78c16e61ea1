"""Data: download or draw a data set, then index it.

The flag file `.complete`, which is written last, stands for a root that the workflow makes: Snakemake never looks at
its tens of thousands of files. A user's root has no such flag. Its path and the digests of its split lists are
parameters instead, so that another root or an edited list rebuilds the index, and the script says in one line what is
missing.
"""

from maskmill.data.download import described
from maskmill.data.own import training_masks
from maskmill.workflow.user_files import list_digest, own_digests, sizes_digest

# The role that a split list plays in the workflow, and the key of `data.<data set>` that names the list.
ROLES = {"train": "train_split", "labelled_train": "eval_split", "val": "val_split"}


def root_of(dataset: str) -> str | None:
    """A data set's folder: the user's own, the drawn one, or the downloaded one; None for one still to be named."""
    about = DATASETS[dataset]
    root = config["data"][dataset]["root"]
    if root:
        return work(f"{dataset}/converted") if about.converted else root
    if SCALE == "sample":
        return work(f"{dataset}/{about.folder}")
    return f"downloads/{dataset}/{about.folder}" if about.downloadable else None


def makes_root(dataset: str) -> bool:
    """Whether a rule makes the root."""
    given = config["data"][dataset]["root"] and not DATASETS[dataset].converted
    return not given and root_of(dataset) is not None


def complete_flag(wildcards) -> list[str]:
    """The flag of a root that a rule makes; nothing for the user's own."""
    return [f"{root_of(wildcards.dataset)}/.complete"] if makes_root(wildcards.dataset) else []


def lists_of(wildcards) -> dict[str, str]:
    """Each role and the list that plays it."""
    return {role: config["data"][wildcards.dataset][key] for role, key in ROLES.items()}


def list_digests(wildcards) -> list[str | None]:
    """Digests of the user's split lists; nothing for a root that a rule makes."""
    root = config["data"][wildcards.dataset]["root"]
    if makes_root(wildcards.dataset) or not root:
        return []
    return [list_digest(root, wildcards.dataset, name) for name in lists_of(wildcards).values()]


def subset(wildcards) -> bool:
    """Whether cities may be missing: the user allows it, or the workflow draws fewer scenes than there are cities."""
    return config["data"][wildcards.dataset].get("subset", False) or makes_root(wildcards.dataset)


@cache  # it reads every mask
def digests_of_own() -> list[str | None]:
    """What tells that the user's own images, masks, tags or list changed."""
    return own_digests(**config["data"][OWN])


@cache  # every row of a table needs it; the folder of masks may be large
def scored_roles(dataset: str) -> list[str]:
    """The roles whose images have masks to score on; of the user's own training images, perhaps none has."""
    own = config["data"][OWN]
    return ["val"] if dataset == OWN and not training_masks(own["masks"], own["val"]) else list(ROLES)


def scored_rows(dataset: str, rows: list[Row]) -> list[Row]:
    """Those rows of a table that can be scored."""
    return [row for row in rows if row.role in scored_roles(dataset)]


def source_of_archive(wildcards) -> str:
    """Address, place and checksum of an archive of VOC 2012 or SBD."""
    archive = next(a for a in DATASETS["voc"].archives.values() if a.name == wildcards.archive)
    return described(archive.urls, f"downloads/voc/archives/{archive.name}", archive.checksum)


# No digest of the code here, so that an edit does not fetch 2 GB again: the checksum shows that the file is right.
rule download_voc:
    output:
        path="downloads/voc/archives/{archive}",
    log:
        "logs/downloads/download_voc_{archive}.log",
    benchmark:
        "benchmarks/downloads/download_voc_{archive}.tsv"
    wildcard_constraints:
        archive=r"VOCtrainval_11-May-2012\.tar|benchmark\.tgz",
    localrule: True
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(500),
        runtime=growing(600),
        source=source_of_archive,
    message:
        "{resources.source}"
    script:
        "../workflow_scripts/data/download_voc.py"


rule prepare_voc:
    input:
        voc2012="downloads/voc/archives/VOCtrainval_11-May-2012.tar",
        sbd="downloads/voc/archives/benchmark.tgz",
    output:
        complete="downloads/voc/VOC2012/.complete",
    log:
        "logs/downloads/prepare_voc.log",
    benchmark:
        "benchmarks/downloads/prepare_voc.tsv"
    conda:
        "../envs/maskmill.yaml"
    threads: 4
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        **settings_for("data/prepare_voc.py"),
    script:
        "../workflow_scripts/data/prepare_voc.py"


rule draw_scenes:
    output:
        complete="work/sample/{dataset}/{folder}/.complete",
    log:
        "logs/sample/{dataset}/draw_scenes_{folder}.log",
    benchmark:
        "benchmarks/sample/{dataset}/draw_scenes_{folder}.tsv"
    wildcard_constraints:
        folder="|".join(dataset.folder for dataset in DATASETS.values()),
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        **settings_for("data/draw_scenes.py", scenes=config["data"]["sample"]),
    script:
        "../workflow_scripts/data/draw_scenes.py"


# A user's copy of CamVid, in either release, becomes a root in VOC's layout.
rule prepare_camvid:
    output:
        complete=work("camvid/converted/.complete"),
    log:
        logs("camvid/prepare_camvid"),
    benchmark:
        benchmarks("camvid/prepare_camvid")
    conda:
        "../envs/maskmill.yaml"
    threads: 4
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        **settings_for(
            "data/prepare_camvid.py",
            root=config["data"]["camvid"]["root"],
            digest=lambda wildcards: sizes_digest(config["data"]["camvid"]["root"], "*/*.png"),
        ),
    script:
        "../workflow_scripts/data/prepare_camvid.py"


# A user's copy of MS COCO becomes a root in VOC's layout.
rule prepare_coco:
    output:
        complete=work("coco/converted/.complete"),
    log:
        logs("coco/prepare_coco"),
    benchmark:
        benchmarks("coco/prepare_coco")
    conda:
        "../envs/maskmill.yaml"
    threads: 4
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        **settings_for(
            "data/prepare_coco.py",
            "data.coco",
            digest=lambda wildcards: sizes_digest(config["data"]["coco"]["root"], "annotations/instances_*2014.json"),
        ),
    script:
        "../workflow_scripts/data/prepare_coco.py"


rule build_index:
    input:
        complete_flag,
    output:
        index=work("{dataset}/index.csv"),
        splits=[ids_of(role) for role in ROLES],
        manifest=work("{dataset}/splits/manifest.json"),
    log:
        logs("{dataset}/build_index"),
    benchmark:
        benchmarks("{dataset}/build_index")
    wildcard_constraints:
        dataset="|".join(DATASETS),
    conda:
        "../envs/maskmill.yaml"
    threads: 4
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        **settings_for(
            "data/build_index.py",
            root=lambda wildcards: root_of(wildcards.dataset),
            lists=lists_of,
            digests=list_digests,
            subset=subset,
        ),
    script:
        "../workflow_scripts/data/build_index.py"


rule index_own:
    output:
        index=work(f"{OWN}/index.csv"),
        class_list=work(f"{OWN}/classes.txt"),
        train=work(f"{OWN}/splits/train.txt"),
        labelled_train=work(f"{OWN}/splits/labelled_train.txt"),
        manifest_file=work(f"{OWN}/splits/manifest.json"),
    log:
        logs(f"{OWN}/index_own"),
    benchmark:
        benchmarks(f"{OWN}/index_own")
    conda:
        "../envs/maskmill.yaml"
    threads: 4
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        **settings_for("data/index_own.py", f"data.{OWN}", digests=lambda wildcards: digests_of_own()),
    script:
        "../workflow_scripts/data/index_own.py"


# The priority runs this before the trainings, so that the user learns early that a table has no images to score on.
rule validation_own:
    input:
        index=work(f"{OWN}/index.csv"),
    output:
        val=work(f"{OWN}/splits/val.txt"),
    log:
        logs(f"{OWN}/validation_own"),
    benchmark:
        benchmarks(f"{OWN}/validation_own")
    priority: 1
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(500),
        runtime=growing(10),
    params:
        **settings_for("data/validation_own.py"),
    script:
        "../workflow_scripts/data/validation_own.py"

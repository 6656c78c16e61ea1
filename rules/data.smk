"""Data: download or draw a data set in VOC's layout, then index it.

A root that the workflow makes is represented by the flag file `.complete` in it, written last: its tens of thousands
of files are never stat'ed. A user's root has no such flag: its path and its split lists' digests are parameters
instead, so that another root or an edited list rebuilds the index, and the script says in one line what is missing.
"""

import hashlib

# The role that a split list plays in the workflow, and the list's name in the root.
VOC_LISTS = {
    "train": config["data"]["voc"]["train_split"],
    "labelled_train": config["data"]["voc"]["eval_split"],
    "val": config["data"]["voc"]["val_split"],
}


def voc_complete():
    """The flag of a root that a rule makes; nothing for the user's own."""
    return [] if config["data"]["voc"]["root"] else [f"{voc_root()}/.complete"]


def voc_list_digests():
    """SHA-256 of the user's split lists, None for one that is missing; nothing for a root that a rule makes."""
    if not config["data"]["voc"]["root"]:
        return []
    paths = [Path(voc_root(), "ImageSets/Segmentation", f"{name}.txt") for name in VOC_LISTS.values()]
    return [hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None for path in paths]


localrules:
    download_voc,


# No digest of the code here: the checksum vouches for the file, and 2 GB are not fetched again for an edit.
rule download_voc:
    output:
        path="downloads/voc/archives/{archive}",
    log:
        "logs/downloads/download_voc_{archive}.log",
    benchmark:
        "benchmarks/downloads/download_voc_{archive}.tsv"
    wildcard_constraints:
        archive=r"VOCtrainval_11-May-2012\.tar|benchmark\.tgz",
    resources:
        mem_mb=500,
        runtime=600,
    script:
        "../workflow_scripts/download_voc.py"


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
    threads: 4
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        code=code("prepare_voc.py"),
    script:
        "../workflow_scripts/prepare_voc.py"


rule draw_scenes:
    output:
        complete="work/sample/voc/VOC2012/.complete",
    log:
        "logs/sample/draw_scenes.log",
    benchmark:
        "benchmarks/sample/draw_scenes.tsv"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("draw_scenes.py"),
        scenes=config["data"]["sample"],
    script:
        "../workflow_scripts/draw_scenes.py"


rule build_index:
    input:
        voc_complete(),
    output:
        index=f"{WORK}/voc/index.csv",
        splits=[f"{WORK}/voc/splits/{role}.txt" for role in VOC_LISTS],
        manifest=f"{WORK}/voc/splits/manifest.json",
    log:
        f"logs/{SCALE}/build_index.log",
    benchmark:
        f"benchmarks/{SCALE}/build_index.tsv"
    threads: 4
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        code=code("build_index.py"),
        root=voc_root(),
        lists=VOC_LISTS,
        digests=voc_list_digests(),
    script:
        "../workflow_scripts/build_index.py"

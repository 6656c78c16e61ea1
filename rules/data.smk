"""Data: download or draw a data set, then index it.

A root that the workflow makes is represented by the flag file `.complete` in it, written last: its tens of thousands
of files are never stat'ed. A user's root has no such flag: its path and its split lists' digests are parameters
instead, so that another root or an edited list rebuilds the index, and the script says in one line what is missing.
"""


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
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(500),
        runtime=growing(600),
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
        code=code("data/prepare_voc.py"),
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
        code=code("data/draw_scenes.py"),
        scenes=config["data"]["sample"],
    script:
        "../workflow_scripts/data/draw_scenes.py"


# A user's copy of CamVid, in either release, becomes a root in VOC's layout.
rule prepare_camvid:
    output:
        complete=f"{WORK}/camvid/converted/.complete",
    log:
        f"logs/{SCALE}/camvid/prepare_camvid.log",
    benchmark:
        f"benchmarks/{SCALE}/camvid/prepare_camvid.tsv"
    conda:
        "../envs/maskmill.yaml"
    threads: 4
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        code=code("data/prepare_camvid.py"),
        root=config["data"]["camvid"]["root"],
        digest=files_digest(config["data"]["camvid"]["root"], "*/*.png"),
    script:
        "../workflow_scripts/data/prepare_camvid.py"


# A user's copy of MS COCO becomes a root in VOC's layout.
rule prepare_coco:
    output:
        complete=f"{WORK}/coco/converted/.complete",
    log:
        f"logs/{SCALE}/coco/prepare_coco.log",
    benchmark:
        f"benchmarks/{SCALE}/coco/prepare_coco.tsv"
    conda:
        "../envs/maskmill.yaml"
    threads: 4
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        **only(config["data"]["coco"], "root", "overlap", "crowd"),
        code=code("data/prepare_coco.py"),
        digest=files_digest(config["data"]["coco"]["root"], "annotations/instances_*2014.json"),
    script:
        "../workflow_scripts/data/prepare_coco.py"


rule build_index:
    input:
        complete_flag,
    output:
        index=f"{WORK}/{{dataset}}/index.csv",
        splits=[f"{WORK}/{{dataset}}/splits/{role}.txt" for role in ROLES],
        manifest=f"{WORK}/{{dataset}}/splits/manifest.json",
    log:
        f"logs/{SCALE}/{{dataset}}/build_index.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/build_index.tsv"
    wildcard_constraints:
        dataset="|".join(DATASETS),
    conda:
        "../envs/maskmill.yaml"
    threads: 4
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        code=code("data/build_index.py"),
        root=lambda wildcards: root_of(wildcards.dataset),
        lists=lists_of,
        digests=list_digests,
        subset=subset,
    script:
        "../workflow_scripts/data/build_index.py"


rule index_own:
    output:
        index=f"{WORK}/{OWN}/index.csv",
        class_list=f"{WORK}/{OWN}/classes.txt",
        train=f"{WORK}/{OWN}/splits/train.txt",
        labelled_train=f"{WORK}/{OWN}/splits/labelled_train.txt",
        manifest_file=f"{WORK}/{OWN}/splits/manifest.json",
    log:
        f"logs/{SCALE}/{OWN}/index_own.log",
    benchmark:
        f"benchmarks/{SCALE}/{OWN}/index_own.tsv"
    conda:
        "../envs/maskmill.yaml"
    threads: 4
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        **without(config["data"][OWN], "short_side"),
        code=code("data/index_own.py"),
        digests=lambda wildcards: own_digests(),
    script:
        "../workflow_scripts/data/index_own.py"


# Runs before all else that is ready: that a table has no images to score on should be known before the trainings.
rule validation_own:
    input:
        index=f"{WORK}/{OWN}/index.csv",
    output:
        val=f"{WORK}/{OWN}/splits/val.txt",
    log:
        f"logs/{SCALE}/{OWN}/validation_own.log",
    benchmark:
        f"benchmarks/{SCALE}/{OWN}/validation_own.tsv"
    priority: 1
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(500),
        runtime=growing(10),
    params:
        code=code("data/validation_own.py"),
        scale=SCALE,
    script:
        "../workflow_scripts/data/validation_own.py"

"""IRN: from seeds to pseudo labels."""


rule affinity_labels:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("train"),
        cams=f"{WORK}/{{dataset}}/cams.h5",
    output:
        maps=f"{WORK}/{{dataset}}/affinity_labels/{{scatteritem}}.h5",
    log:
        f"logs/{SCALE}/{{dataset}}/affinity_labels/{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/affinity_labels/{{scatteritem}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_crf"]
    resources:
        mem_mb=growing(2000),
        runtime=growing(120),
    params:
        **affinity(config["irn"]),
    script:
        "../workflow_scripts/tags/affinity_labels.py"


rule train_irn:
    input:
        **irn_start(),
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("train"),
        labels=f"{WORK}/{{dataset}}/affinity_labels.h5",
    output:
        checkpoint=f"{WORK}/{{dataset}}/irn/irn.safetensors",
    log:
        f"logs/{SCALE}/{{dataset}}/train_irn.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/train_irn.tsv"
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(16000),
        runtime=720,
        gpu=config["resources"]["gpu"],
    params:
        **only(
            config["irn"],
            *("network", "radius", "augmentation", "optimizer", "lr_edge", "lr_displacement"),
            *("weight_decay", "epochs", "batch_size"),
        ),
        **training(),
        code=code("tags/train_irn.py"),
    script:
        "../workflow_scripts/tags/train_irn.py"


rule random_walk:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("train"),
        cams=f"{WORK}/{{dataset}}/cams.h5",
        checkpoint=f"{WORK}/{{dataset}}/irn/irn.safetensors",
    output:
        maps=f"{WORK}/{{dataset}}/irn/pseudo_labels/{{scatteritem}}.h5",
    log:
        f"logs/{SCALE}/{{dataset}}/random_walk/{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/random_walk/{{scatteritem}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
        gpu=config["resources"]["gpu"],
    params:
        **walking(config["irn"]),
    script:
        "../workflow_scripts/tags/random_walk.py"


rule import_masks:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("train"),
    output:
        maps=f"{WORK}/{{dataset}}/external/pseudo_labels/{{scatteritem}}.h5",
    log:
        f"logs/{SCALE}/{{dataset}}/import_masks/{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/import_masks/{{scatteritem}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(60),
    params:
        code=code("tags/import_masks.py"),
        folder=config["mars"]["external"],
        short_side=short_side,
    script:
        "../workflow_scripts/tags/import_masks.py"

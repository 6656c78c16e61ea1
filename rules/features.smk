"""Unsupervised semantic features: STEGO's head on frozen features."""

USS_WEIGHTS = pretrained(config["uss"]["features"], config["uss"]["pretrained"])


rule uss_neighbours:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("train"),
        weights=USS_WEIGHTS,
    output:
        neighbours=f"{WORK}/{{dataset}}/uss/neighbours.safetensors",
    log:
        f"logs/{SCALE}/{{dataset}}/uss_neighbours.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/uss_neighbours.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=config["resources"]["gpu"],
    params:
        **only(config["uss"], "features", "resolution", "crop_ratio"),
        code=code("mars/uss_neighbours.py"),
        k=config["uss"]["neighbours"],
        short_side=short_side,
    script:
        "../workflow_scripts/mars/uss_neighbours.py"


rule train_uss:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("train"),
        neighbours=f"{WORK}/{{dataset}}/uss/neighbours.safetensors",
        weights=USS_WEIGHTS,
    output:
        checkpoint=f"{WORK}/{{dataset}}/uss/stego_head.safetensors",
    log:
        f"logs/{SCALE}/{{dataset}}/train_uss.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/train_uss.tsv"
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(16000),
        runtime=720,
        gpu=config["resources"]["gpu"],
    params:
        **without(config["uss"], "pretrained", "neighbours", "scales", "grid_scale"),
        **training(),
        code=code("mars/train_uss.py"),
    script:
        "../workflow_scripts/mars/train_uss.py"


rule uss_features:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("train"),
        checkpoint=f"{WORK}/{{dataset}}/uss/stego_head.safetensors",
        weights=USS_WEIGHTS,
    output:
        maps=f"{WORK}/{{dataset}}/uss/features/{{scatteritem}}.h5",
    log:
        f"logs/{SCALE}/{{dataset}}/uss_features/{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/uss_features/{{scatteritem}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=config["resources"]["gpu"],
    params:
        **only(config["uss"], "features", "scales", "grid_scale"),
        code=code("mars/uss_features.py"),
        short_side=short_side,
    script:
        "../workflow_scripts/mars/uss_features.py"

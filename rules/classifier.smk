"""Classifier, class activation maps, seed evaluation."""


rule train_classifier:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("train"),
        weights=pretrained(config["classifier"]["network"]["backbone"], config["classifier"]["pretrained"]),
    output:
        checkpoint=f"{WORK}/{{dataset}}/classifier/classifier.safetensors",
    log:
        f"logs/{SCALE}/{{dataset}}/train_classifier.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/train_classifier.tsv"
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(16000),
        runtime=720,
        gpu=config["resources"]["gpu"],
    params:
        **without(config["classifier"], "pretrained"),
        **training(),
        code=code("tags/train_classifier.py"),
    script:
        "../workflow_scripts/tags/train_classifier.py"


rule cams:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("train"),
        checkpoint=f"{WORK}/{{dataset}}/classifier/classifier.safetensors",
    output:
        maps=f"{WORK}/{{dataset}}/cams/{{scatteritem}}.h5",
    log:
        f"logs/{SCALE}/{{dataset}}/cams/{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/cams/{{scatteritem}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
        gpu=config["resources"]["gpu"],
    params:
        code=code("tags/cams.py"),
        scales=config["cams"]["scales"],
        short_side=short_side,
    script:
        "../workflow_scripts/tags/cams.py"


rule evaluate_seeds:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("labelled_train"),
        maps=f"{WORK}/{{dataset}}/cams.h5",
    output:
        curve=f"{WORK}/{{dataset}}/seed_miou.csv",
        scores_table=f"{WORK}/{{dataset}}/seed_scores.csv",
    log:
        f"logs/{SCALE}/{{dataset}}/evaluate_seeds.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/evaluate_seeds.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        code=code("tags/evaluate_seeds.py"),
        thresholds=config["cams"]["thresholds"],
        classes=averaged_classes,
        counted=config["evaluation"]["counted"],
    script:
        "../workflow_scripts/tags/evaluate_seeds.py"

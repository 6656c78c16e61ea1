"""P2AT: real-time segmentation of images with true masks; its speed, and networks for deployment."""

P2AT = f"{WORK}/{{dataset}}/p2at/{{variant}}"
P2AT_DATASETS = ["camvid", "cityscapes", "voc"]
P2AT_VARIANTS = [name for name, variant in config["p2at"]["variants"].items() if variant]
P2AT_SCORES = {row: f"{WORK}/{{dataset}}/p2at/{row}/val/argmax_scores.csv" for row in P2AT_VARIANTS}


rule train_p2at:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("train"),
        weights=p2at_weights,
        start=p2at_start,
    output:
        checkpoint=f"{P2AT}/network.safetensors",
    log:
        f"logs/{SCALE}/{{dataset}}/train_p2at/{{variant}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/train_p2at/{{variant}}.tsv"
    wildcard_constraints:
        variant="|".join(P2AT_VARIANTS),
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(32000),
        runtime=1440,
        gpu=config["resources"]["gpu"],
    params:
        **varied("p2at", "augmentation", "optimizer", "new_factor", "weight_decay", "epochs", "poly_epochs"),
        **varied("p2at", "batch_size", "ohem", "class_weights"),
        **training(),
        code=code("p2at/train_p2at.py"),
        architecture=p2at_variant("architecture"),
        network=p2at_network,
        lr=p2at_variant("lr"),
        balance=p2at_variant("balance"),
    script:
        "../workflow_scripts/p2at/train_p2at.py"


rule predict_p2at:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("val"),
        checkpoint=f"{P2AT}/network.safetensors",
    output:
        maps=f"{P2AT}/val/argmax/{{scatteritem}}.h5",
    log:
        f"logs/{SCALE}/{{dataset}}/predict_p2at/{{variant}}/{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/predict_p2at/{{variant}}/{{scatteritem}}.tsv"
    wildcard_constraints:
        variant="|".join(P2AT_VARIANTS),
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=config["resources"]["gpu"],
    params:
        code=code("results/predict_labels.py"),
        short_side=short_side,
    script:
        "../workflow_scripts/results/predict_labels.py"


# Nothing else may run beside it: the whole machine is asked for.
rule measure_speed:
    input:
        checkpoints=[f"{WORK}/{{dataset}}/p2at/{variant}/network.safetensors" for variant in P2AT_VARIANTS],
    output:
        speed_table=report("results/p2at_{dataset}_speed.csv", **shown("p2at", "speed", "speed")),
    log:
        f"logs/{SCALE}/{{dataset}}/measure_speed.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/measure_speed.tsv"
    wildcard_constraints:
        dataset="|".join(P2AT_DATASETS),
    conda:
        "../envs/maskmill.yaml"
    threads: all_cores()
    resources:
        mem_mb=growing(8000),
        runtime=growing(60),
        gpu=config["resources"]["gpu"],
    params:
        code=code("p2at/measure_speed.py"),
        method="p2at",
        variants=P2AT_VARIANTS,
        scale=SCALE,
        size=speed_setting("size"),
        ways=speed_setting("ways"),
        warm_up=speed_setting("warm_up"),
        passes=speed_setting("passes"),
    script:
        "../workflow_scripts/p2at/measure_speed.py"

"""MixReorg and its baseline GroupViT: pre-training on image-text pairs, zero-shot labels, bars, threshold curve."""

MIXREORG = f"{WORK}/pairs/mixreorg/{{row}}"
ZERO_SHOT = f"{WORK}/{{dataset}}/mixreorg/{{row}}"
MIXREORG_DATASETS = [name for name in config["mixreorg"]["datasets"] if name in DATASETS]
MIXREORG_SCORES = {
    "groupvit": f"{WORK}/{{dataset}}/mixreorg/groupvit/val/argmax_scores.csv",
    "mixreorg": f"{WORK}/{{dataset}}/mixreorg/mixreorg/val/argmax_scores.csv",
    "image_level": f"{WORK}/{{dataset}}/mixreorg/mixreorg/image_level/val/argmax_scores.csv",
    "chance": f"{WORK}/{{dataset}}/mixreorg/chance/val/argmax_scores.csv",
}


rule train_mixreorg:
    input:
        pair_files(config["mixreorg"]["pairs"], ".json"),
        shards=pair_files(config["mixreorg"]["pairs"], ".tar"),
        stem=first_stem("mixreorg"),
    output:
        checkpoint=f"{MIXREORG}/network.safetensors",
    log:
        f"logs/{SCALE}/train_mixreorg/{{row}}.log",
    benchmark:
        f"benchmarks/{SCALE}/train_mixreorg/{{row}}.tsv"
    wildcard_constraints:
        row="groupvit|mixreorg",
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(32000),
        runtime=2880,
        gpu=config["resources"]["gpu"],
    params:
        **only(config["mixreorg"], "network", "own_words", "prompt", "augmentation", "nouns"),
        **only(config["mixreorg"], "lr", "lr_start", "lr_end", "weight_decay", "decay_scalars", "max_norm"),
        **only(config["mixreorg"], "epochs", "warmup_epochs", "batch_size"),
        code=code("open_vocabulary/train_mixreorg.py"),
        mixing=lambda wildcards: config["mixreorg"]["mixing"] if wildcards.row == "mixreorg" else None,
        max_iterations=config["max_iterations"],
        seed=config["seed"],
    script:
        "../workflow_scripts/open_vocabulary/train_mixreorg.py"


rule measure_mixing:
    input:
        pair_files(config["mixreorg"]["pairs"], ".json"),
        shards=pair_files(config["mixreorg"]["pairs"], ".tar"),
        checkpoint=f"{MIXREORG}/network.safetensors",
    output:
        mixing_table=f"{MIXREORG}/mixing.csv",
    log:
        f"logs/{SCALE}/measure_mixing/{{row}}.log",
    benchmark:
        f"benchmarks/{SCALE}/measure_mixing/{{row}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(16000),
        runtime=growing(60),
        gpu=config["resources"]["gpu"],
    params:
        **only(config["mixreorg"], "augmentation", "nouns", "mixing"),
        **config["mixreorg"]["health"],
        code=code("open_vocabulary/measure_mixing.py"),
        seed=config["seed"],
    script:
        "../workflow_scripts/open_vocabulary/measure_mixing.py"


rule embed_classes:
    input:
        checkpoint=f"{MIXREORG}/network.safetensors",
    output:
        vectors=f"{ZERO_SHOT}/classes.safetensors",
    log:
        f"logs/{SCALE}/{{dataset}}/embed_classes/{{row}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/embed_classes/{{row}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(20),
    params:
        code=code("open_vocabulary/embed_classes.py"),
        names=prompt_names("mixreorg"),
        templates=setting("mixreorg", "templates"),
    script:
        "../workflow_scripts/open_vocabulary/embed_classes.py"


rule predict_zero_shot:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("val"),
        checkpoint=f"{MIXREORG}/network.safetensors",
        vectors=f"{ZERO_SHOT}/classes.safetensors",
    output:
        maps=f"{ZERO_SHOT}/val/argmax/{{scatteritem}}.h5",
        foreground=f"{ZERO_SHOT}/foreground/val/argmax/{{scatteritem}}.h5",
        image_level=f"{ZERO_SHOT}/image_level/val/argmax/{{scatteritem}}.h5",
    log:
        f"logs/{SCALE}/{{dataset}}/predict_zero_shot/{{row}}/{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/predict_zero_shot/{{row}}/{{scatteritem}}.tsv"
    wildcard_constraints:
        row="groupvit|mixreorg",
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=config["resources"]["gpu"],
    params:
        **varied("mixreorg", "threshold", "side", "window", "stride"),
        code=code("open_vocabulary/predict_zero_shot.py"),
    script:
        "../workflow_scripts/open_vocabulary/predict_zero_shot.py"


rule predict_chance:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("val"),
    output:
        maps=f"{WORK}/{{dataset}}/mixreorg/chance/val/argmax/{{scatteritem}}.h5",
        foreground=f"{WORK}/{{dataset}}/mixreorg/chance/foreground/val/argmax/{{scatteritem}}.h5",
    log:
        f"logs/{SCALE}/{{dataset}}/predict_chance/{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/predict_chance/{{scatteritem}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(60),
    params:
        code=code("open_vocabulary/predict_chance.py"),
        class_ids=lambda wildcards: list(prompt_names("mixreorg")(wildcards)),
        background=finds_background("mixreorg"),
        seed=config["seed"],
    script:
        "../workflow_scripts/open_vocabulary/predict_chance.py"


rule threshold_curve:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("labelled_train"),
        checkpoint=f"{MIXREORG}/network.safetensors",
        vectors=f"{ZERO_SHOT}/classes.safetensors",
    output:
        curve=f"{ZERO_SHOT}/thresholds.csv",
    log:
        f"logs/{SCALE}/{{dataset}}/threshold_curve/{{row}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/threshold_curve/{{row}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=config["resources"]["gpu"],
    params:
        **varied("mixreorg", "side", "window", "stride"),
        code=code("open_vocabulary/threshold_curve.py"),
        thresholds=config["mixreorg"]["thresholds"],
        images=config["mixreorg"]["curve_images"],
    script:
        "../workflow_scripts/open_vocabulary/threshold_curve.py"

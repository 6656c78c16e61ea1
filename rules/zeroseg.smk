"""ZeroSeg: a teacher's views of images, pre-training with ablations, zero-shot labels by MixReorg's stages."""

ZEROSEG_VIEWS = f"{WORK}/pairs/{{source}}/views/{config['zeroseg']['teacher']}/{{scatteritem}}.h5"
ZEROSEG = f"{WORK}/pairs/zeroseg/{{row}}"
ZEROSEG_LABELS = f"{WORK}/{{dataset}}/zeroseg/{{row}}"
ZEROSEG_ROWS = list(config["zeroseg"]["variants"])
ZEROSEG_DATASETS = [name for name in config["zeroseg"]["datasets"] if name in DATASETS]
ZEROSEG_SCORES = {
    **{row: f"{WORK}/{{dataset}}/zeroseg/{row}/val/argmax_scores.csv" for row in ZEROSEG_ROWS},
    "image_level": f"{WORK}/{{dataset}}/zeroseg/zeroseg/image_level/val/argmax_scores.csv",
    "chance": f"{WORK}/{{dataset}}/zeroseg/chance/val/argmax_scores.csv",
}


rule train_tiny_clip:
    input:
        pair_files(config["tiny_clip"]["pairs"], ".json"),
        shards=pair_files(config["tiny_clip"]["pairs"], ".tar"),
        weights=pretrained(weights_of(config["tiny_clip"]["network"]["backbone"]), config["tiny_clip"]["pretrained"]),
    output:
        checkpoint=TINY_CLIP,
    log:
        f"logs/{SCALE}/train_tiny_clip.log",
    benchmark:
        f"benchmarks/{SCALE}/train_tiny_clip.tsv"
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(8000),
        runtime=240,
        gpu=config["resources"]["gpu"],
    params:
        **without(config["tiny_clip"], "pairs", "pretrained"),
        code=code("open_vocabulary/train_tiny_clip.py"),
        max_iterations=config["max_iterations"],
        seed=config["seed"],
    script:
        "../workflow_scripts/open_vocabulary/train_tiny_clip.py"


rule cache_views:
    input:
        index=f"{PAIRS}.json",
        shard=f"{PAIRS}.tar",
        weights=zeroseg_teacher(),
    output:
        features=ZEROSEG_VIEWS,
    log:
        f"logs/{SCALE}/cache_views/{{source}}_{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/cache_views/{{source}}_{{scatteritem}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(1440),
        gpu=config["resources"]["gpu"],
    params:
        **only(config["zeroseg"], "teacher", "grids"),
        code=code("open_vocabulary/cache_views.py"),
    script:
        "../workflow_scripts/open_vocabulary/cache_views.py"


rule train_zeroseg:
    input:
        pair_files(config["zeroseg"]["pairs"], ".json"),
        shards=pair_files(config["zeroseg"]["pairs"], ".tar"),
        features=[path for source in config["zeroseg"]["pairs"] for path in gather.images(ZEROSEG_VIEWS, source=source)],
        weights=zeroseg_teacher(),
        stem=first_stem("zeroseg"),
    output:
        checkpoint=f"{ZEROSEG}/network.safetensors",
    log:
        f"logs/{SCALE}/train_zeroseg/{{row}}.log",
    benchmark:
        f"benchmarks/{SCALE}/train_zeroseg/{{row}}.tsv"
    wildcard_constraints:
        row="|".join(ZEROSEG_ROWS),
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(32000),
        runtime=2880,
        gpu=config["resources"]["gpu"],
    params:
        **only(config["zeroseg"], "teacher", "network", "loss", "lr", "betas", "weight_decay"),
        **only(config["zeroseg"], "stem_frozen", "epochs", "warmup_epochs", "batch_size"),
        code=code("open_vocabulary/train_zeroseg.py"),
        multi_scale=lambda wildcards: config["zeroseg"]["variants"][wildcards.row]["multi_scale"],
        match=lambda wildcards: config["zeroseg"]["variants"][wildcards.row]["match"],
        max_iterations=config["max_iterations"],
        seed=config["seed"],
    script:
        "../workflow_scripts/open_vocabulary/train_zeroseg.py"


rule measure_views:
    input:
        pair_files(config["zeroseg"]["pairs"], ".json"),
        shards=pair_files(config["zeroseg"]["pairs"], ".tar"),
        features=rules.train_zeroseg.input.features,
        checkpoint=f"{ZEROSEG}/network.safetensors",
    output:
        views_table=f"{ZEROSEG}/views.csv",
    log:
        f"logs/{SCALE}/measure_views/{{row}}.log",
    benchmark:
        f"benchmarks/{SCALE}/measure_views/{{row}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(60),
        gpu=config["resources"]["gpu"],
    params:
        code=code("open_vocabulary/measure_views.py"),
        images=config["zeroseg"]["health_images"],
        seed=config["seed"],
    script:
        "../workflow_scripts/open_vocabulary/measure_views.py"


use rule embed_classes as embed_classes_zeroseg with:
    input:
        checkpoint=zeroseg_teacher(),
    output:
        vectors=f"{WORK}/{{dataset}}/zeroseg/classes.safetensors",
    log:
        f"logs/{SCALE}/{{dataset}}/embed_classes_zeroseg.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/embed_classes_zeroseg.tsv"
    params:
        code=code("open_vocabulary/embed_classes.py"),
        teacher=config["zeroseg"]["teacher"],
        names=prompt_names("zeroseg"),
        templates=setting("zeroseg", "templates"),


use rule predict_zero_shot as predict_zeroseg with:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("val"),
        checkpoint=f"{ZEROSEG}/network.safetensors",
        vectors=f"{WORK}/{{dataset}}/zeroseg/classes.safetensors",
    output:
        maps=f"{ZEROSEG_LABELS}/val/argmax/{{scatteritem}}.h5",
        foreground=f"{ZEROSEG_LABELS}/foreground/val/argmax/{{scatteritem}}.h5",
        image_level=f"{ZEROSEG_LABELS}/image_level/val/argmax/{{scatteritem}}.h5",
    log:
        f"logs/{SCALE}/{{dataset}}/predict_zeroseg/{{row}}/{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/predict_zeroseg/{{row}}/{{scatteritem}}.tsv"
    wildcard_constraints:
        row="|".join(ZEROSEG_ROWS),
    params:
        **varied("zeroseg", "threshold", "side", "window", "stride"),
        code=code("open_vocabulary/predict_zero_shot.py"),


use rule predict_chance as predict_chance_zeroseg with:
    output:
        maps=f"{WORK}/{{dataset}}/zeroseg/chance/val/argmax/{{scatteritem}}.h5",
        foreground=f"{WORK}/{{dataset}}/zeroseg/chance/foreground/val/argmax/{{scatteritem}}.h5",
    log:
        f"logs/{SCALE}/{{dataset}}/predict_chance_zeroseg/{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/predict_chance_zeroseg/{{scatteritem}}.tsv"


use rule threshold_curve as threshold_curve_zeroseg with:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("labelled_train"),
        checkpoint=f"{ZEROSEG}/network.safetensors",
        vectors=f"{WORK}/{{dataset}}/zeroseg/classes.safetensors",
    output:
        curve=f"{ZEROSEG_LABELS}/thresholds.csv",
    log:
        f"logs/{SCALE}/{{dataset}}/threshold_curve_zeroseg/{{row}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/threshold_curve_zeroseg/{{row}}.tsv"
    params:
        **varied("zeroseg", "side", "window", "stride"),
        code=code("open_vocabulary/threshold_curve.py"),
        thresholds=config["zeroseg"]["thresholds"],
        images=config["zeroseg"]["curve_images"],

"""ZeroSeg: a teacher's views of images, pre-training with ablations, zero-shot labels by MixReorg's stages."""

ZEROSEG_VIEWS = work(f"pairs/{{source}}/views/{config['zeroseg']['teacher']}/{{scatteritem}}.h5")
ZEROSEG = work("pairs/zeroseg/{row}")
ZEROSEG_LABELS = work("{dataset}/zeroseg/{row}")
ZEROSEG_ROWS = list(config["zeroseg"]["variants"])
of_row = setting_of("zeroseg", "variants", "row")


def zeroseg_rows(dataset: str) -> list[Row]:
    """The ablations, and two bars: one label for the whole image, and labels drawn at random."""
    trained = [
        Row(row, work(f"{dataset}/zeroseg/{row}/val/argmax_scores.csv"), cost=work(f"pairs/zeroseg/{row}/views.csv"))
        for row in ZEROSEG_ROWS
    ]
    bars = {"image_level": "zeroseg/image_level", "chance": "chance"}
    return trained + [
        Row(name, work(f"{dataset}/zeroseg/{folder}/val/argmax_scores.csv")) for name, folder in bars.items()
    ]


def zeroseg_trainings(dataset: str) -> list[str]:
    """The checkpoints behind the table, the teacher's first where it is trained here."""
    teacher = [TINY_CLIP] if config["zeroseg"]["teacher"] == "tiny" else []
    return [*teacher, *(work(f"pairs/zeroseg/{row}/network.safetensors") for row in ZEROSEG_ROWS)]


def classes_without_captions(dataset: str) -> list[str]:
    """The classes that no caption named, where ZeroSeg learned from a data set's tags."""
    return config["pairs"]["tags"]["left_out"] if dataset == TAGGED and "tags" in config["zeroseg"]["pairs"] else []


TABLES["zeroseg"] = Table(
    title="ZeroSeg (ICCV 2023)",
    datasets=[name for name in config["zeroseg"]["datasets"] if name in DATASETS],
    rows=zeroseg_rows,
    compared=lambda dataset: [["base", "zeroseg"]],
    trainings=zeroseg_trainings,
    curves={"zeroseg": work("{dataset}/zeroseg/zeroseg/thresholds.csv")},
    extras=threshold_picture("zeroseg"),
)
SCORINGS["zeroseg"] = Scoring(
    background=finds_background("zeroseg"),
    foreground=foreground_store,
    left_out=classes_without_captions,
)


def zeroseg_teacher() -> str | list:
    """The weights of ZeroSeg's teacher: the user's file, or those of the model that is trained here."""
    return TINY_CLIP if config["zeroseg"]["teacher"] == "tiny" else config["zeroseg"]["teacher_weights"] or []


rule cache_views:
    input:
        index=f"{PAIRS}.json",
        shard=f"{PAIRS}.tar",
        weights=zeroseg_teacher(),
    output:
        features=ZEROSEG_VIEWS,
    log:
        logs("cache_views/{source}_{scatteritem}"),
    benchmark:
        benchmarks("cache_views/{source}_{scatteritem}")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(1440),
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("open_vocabulary/cache_views.py", "zeroseg"),
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
        logs("train_zeroseg/{row}"),
    benchmark:
        benchmarks("train_zeroseg/{row}")
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
        **settings_for(
            "open_vocabulary/train_zeroseg.py", "zeroseg", multi_scale=of_row("multi_scale"), match=of_row("match")
        ),
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
        logs("measure_views/{row}"),
    benchmark:
        benchmarks("measure_views/{row}")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(60),
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("open_vocabulary/measure_views.py", "zeroseg"),
    script:
        "../workflow_scripts/open_vocabulary/measure_views.py"


use rule embed_classes as embed_classes_zeroseg with:
    input:
        checkpoint=zeroseg_teacher(),
    output:
        vectors=work("{dataset}/zeroseg/classes.safetensors"),
    log:
        logs("{dataset}/embed_classes_zeroseg"),
    benchmark:
        benchmarks("{dataset}/embed_classes_zeroseg")
    params:
        **settings_for("open_vocabulary/embed_classes.py", "zeroseg", names=prompt_names("zeroseg")),


use rule predict_zero_shot as predict_zeroseg with:
    input:
        index=work("{dataset}/index.csv"),
        ids=ids_of("val"),
        checkpoint=f"{ZEROSEG}/network.safetensors",
        vectors=work("{dataset}/zeroseg/classes.safetensors"),
    output:
        maps=f"{ZEROSEG_LABELS}/val/argmax/{{scatteritem}}.h5",
        foreground=f"{ZEROSEG_LABELS}/foreground/val/argmax/{{scatteritem}}.h5",
        image_level=f"{ZEROSEG_LABELS}/image_level/val/argmax/{{scatteritem}}.h5",
    log:
        logs("{dataset}/predict_zeroseg/{row}/{scatteritem}"),
    benchmark:
        benchmarks("{dataset}/predict_zeroseg/{row}/{scatteritem}")
    wildcard_constraints:
        row="|".join(ZEROSEG_ROWS),
    params:
        **settings_for("open_vocabulary/predict_zero_shot.py", "zeroseg"),


use rule predict_chance as predict_chance_zeroseg with:
    output:
        maps=work("{dataset}/zeroseg/chance/val/argmax/{scatteritem}.h5"),
        foreground=work("{dataset}/zeroseg/chance/foreground/val/argmax/{scatteritem}.h5"),
    log:
        logs("{dataset}/predict_chance_zeroseg/{scatteritem}"),
    benchmark:
        benchmarks("{dataset}/predict_chance_zeroseg/{scatteritem}")
    params:
        **chance("zeroseg"),


use rule threshold_curve as threshold_curve_zeroseg with:
    input:
        index=work("{dataset}/index.csv"),
        ids=ids_of("labelled_train"),
        checkpoint=f"{ZEROSEG}/network.safetensors",
        vectors=work("{dataset}/zeroseg/classes.safetensors"),
    output:
        curve=f"{ZEROSEG_LABELS}/thresholds.csv",
    log:
        logs("{dataset}/threshold_curve_zeroseg/{row}"),
    benchmark:
        benchmarks("{dataset}/threshold_curve_zeroseg/{row}")
    params:
        **settings_for("open_vocabulary/threshold_curve.py", "zeroseg"),

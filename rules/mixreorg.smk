"""MixReorg and its baseline GroupViT: pre-training on image-text pairs, zero-shot labels, bars, threshold curve."""

MIXREORG = work("pairs/mixreorg/{row}")
MIXREORG_ROWS = ("groupvit", "mixreorg")
ZERO_SHOT = work("{dataset}/mixreorg/{row}")


def mixreorg_rows(dataset: str) -> list[Row]:
    """The two networks, and two bars: one label for the whole image, and labels drawn at random."""
    trained = [
        Row(
            row,
            work(f"{dataset}/mixreorg/{row}/val/argmax_scores.csv"),
            cost=work(f"pairs/mixreorg/{row}/mixing.csv"),
        )
        for row in MIXREORG_ROWS
    ]
    bars = {"image_level": "mixreorg/image_level", "chance": "chance"}
    return trained + [
        Row(name, work(f"{dataset}/mixreorg/{folder}/val/argmax_scores.csv")) for name, folder in bars.items()
    ]


TABLES["mixreorg"] = Table(
    title="MixReorg (ICCV 2023)",
    datasets=[name for name in config["mixreorg"]["datasets"] if name in DATASETS],
    rows=mixreorg_rows,
    compared=lambda dataset: [list(MIXREORG_ROWS)],
    trainings=lambda dataset: [work(f"pairs/mixreorg/{row}/network.safetensors") for row in MIXREORG_ROWS],
    curves={row: work(f"{{dataset}}/mixreorg/{row}/thresholds.csv") for row in MIXREORG_ROWS},
    extras=threshold_picture("mixreorg"),
    builds_on=("zeroseg",),  # whose names of classes stand in the captions made of tags
)
SCORINGS["mixreorg"] = Scoring(background=finds_background("mixreorg"), foreground=foreground_store)


rule train_mixreorg:
    input:
        pair_files(config["mixreorg"]["pairs"], ".json"),
        shards=pair_files(config["mixreorg"]["pairs"], ".tar"),
        stem=first_stem("mixreorg"),
    output:
        checkpoint=f"{MIXREORG}/network.safetensors",
    log:
        logs("train_mixreorg/{row}"),
    benchmark:
        benchmarks("train_mixreorg/{row}")
    wildcard_constraints:
        row="|".join(MIXREORG_ROWS),
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(32000),
        runtime=2880,
        gpu=config["resources"]["gpu"],
    params:
        **settings_for(
            "open_vocabulary/train_mixreorg.py",
            "mixreorg",
            mixing=lambda wildcards: config["mixreorg"]["mixing"] if wildcards.row == "mixreorg" else None,
        ),
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
        logs("measure_mixing/{row}"),
    benchmark:
        benchmarks("measure_mixing/{row}")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(16000),
        runtime=growing(60),
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("open_vocabulary/measure_mixing.py", "mixreorg", "mixreorg.health"),
    script:
        "../workflow_scripts/open_vocabulary/measure_mixing.py"


rule embed_classes:
    input:
        checkpoint=f"{MIXREORG}/network.safetensors",
    output:
        vectors=f"{ZERO_SHOT}/classes.safetensors",
    log:
        logs("{dataset}/embed_classes/{row}"),
    benchmark:
        benchmarks("{dataset}/embed_classes/{row}")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(20),
    params:
        **settings_for("open_vocabulary/embed_classes.py", "mixreorg", names=prompt_names("mixreorg")),
    script:
        "../workflow_scripts/open_vocabulary/embed_classes.py"


rule predict_zero_shot:
    input:
        index=work("{dataset}/index.csv"),
        ids=ids_of("val"),
        checkpoint=f"{MIXREORG}/network.safetensors",
        vectors=f"{ZERO_SHOT}/classes.safetensors",
    output:
        maps=f"{ZERO_SHOT}/val/argmax/{{scatteritem}}.h5",
        foreground=f"{ZERO_SHOT}/foreground/val/argmax/{{scatteritem}}.h5",
        image_level=f"{ZERO_SHOT}/image_level/val/argmax/{{scatteritem}}.h5",
    log:
        logs("{dataset}/predict_zero_shot/{row}/{scatteritem}"),
    benchmark:
        benchmarks("{dataset}/predict_zero_shot/{row}/{scatteritem}")
    wildcard_constraints:
        row="|".join(MIXREORG_ROWS),
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("open_vocabulary/predict_zero_shot.py", "mixreorg"),
    script:
        "../workflow_scripts/open_vocabulary/predict_zero_shot.py"


rule predict_chance:
    input:
        index=work("{dataset}/index.csv"),
        ids=ids_of("val"),
    output:
        maps=work("{dataset}/mixreorg/chance/val/argmax/{scatteritem}.h5"),
        foreground=work("{dataset}/mixreorg/chance/foreground/val/argmax/{scatteritem}.h5"),
    log:
        logs("{dataset}/predict_chance/{scatteritem}"),
    benchmark:
        benchmarks("{dataset}/predict_chance/{scatteritem}")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(60),
    params:
        **chance("mixreorg"),
    script:
        "../workflow_scripts/open_vocabulary/predict_chance.py"


rule threshold_curve:
    input:
        index=work("{dataset}/index.csv"),
        ids=ids_of("labelled_train"),
        checkpoint=f"{MIXREORG}/network.safetensors",
        vectors=f"{ZERO_SHOT}/classes.safetensors",
    output:
        curve=f"{ZERO_SHOT}/thresholds.csv",
    log:
        logs("{dataset}/threshold_curve/{row}"),
    benchmark:
        benchmarks("{dataset}/threshold_curve/{row}")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("open_vocabulary/threshold_curve.py", "mixreorg"),
    script:
        "../workflow_scripts/open_vocabulary/threshold_curve.py"

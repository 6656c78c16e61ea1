"""BAS' boxes: index, training of BAS and of its baseline CAM, maps, evaluation, table and picture.

A set's folder is work/{scale}/{boxset}. Boxes are an input of the evaluation and of the picture, of no training.
"""

BOXSET = f"{WORK}/{{boxset}}"
LOCALIZER = f"{BOXSET}/{{variant}}"
LOCALIZATION_VARIANTS = ("cam", "bas")


localrules:
    download_cub,
    bas_localization_table,


rule download_cub:
    output:
        complete="downloads/cub/CUB_200_2011/.complete",
    log:
        "logs/downloads/download_cub.log",
    benchmark:
        "benchmarks/downloads/download_cub.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(500),
        runtime=growing(600),
    params:
        checksum=config["localization"]["data"]["cub"]["checksum"],
    script:
        "../workflow_scripts/boxes/download_cub.py"


rule draw_localization_scenes:
    output:
        complete="work/sample/{boxset}/scenes/.complete",
    log:
        "logs/sample/{boxset}/draw_localization_scenes.log",
    benchmark:
        "benchmarks/sample/{boxset}/draw_localization_scenes.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        code=code("boxes/draw_localization_scenes.py"),
        scenes=config["localization"]["data"]["sample"],
    script:
        "../workflow_scripts/boxes/draw_localization_scenes.py"


rule localization_index:
    input:
        boxset_flag,
    output:
        index=f"{BOXSET}/index.csv",
        splits=[f"{BOXSET}/splits/{split}.txt" for split in ("train", "heldout", "val")],
        boxes_table=f"{BOXSET}/boxes.csv",
        classes=f"{BOXSET}/classes.txt",
        manifest_file=f"{BOXSET}/splits/manifest.json",
    log:
        f"logs/{SCALE}/{{boxset}}/localization_index.log",
    benchmark:
        f"benchmarks/{SCALE}/{{boxset}}/localization_index.tsv"
    conda:
        "../envs/maskmill.yaml"
    threads: 4
    resources:
        mem_mb=growing(8000),
        runtime=growing(120),
    params:
        code=code("boxes/localization_index.py"),
        root=boxset_value("root"),
        boxes=boxset_value("boxes"),
        heldout=boxset_value("heldout"),
        digests=boxset_digests,
    script:
        "../workflow_scripts/boxes/localization_index.py"


rule train_bas_localizer:
    input:
        index=f"{BOXSET}/index.csv",
        ids=f"{BOXSET}/splits/train.txt",
        classes=f"{BOXSET}/classes.txt",
        weights=localizer_weights(),
    output:
        checkpoint=f"{LOCALIZER}/network.safetensors",
    log:
        f"logs/{SCALE}/{{boxset}}/train_bas_localizer/{{variant}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{boxset}}/train_bas_localizer/{{variant}}.tsv"
    wildcard_constraints:
        variant="|".join(LOCALIZATION_VARIANTS),
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(32000),
        runtime=2880,
        gpu=config["resources"]["gpu"],
    params:
        **only(config["localization"], "network", "saturated", "optimizer", "lr", "new_factor", "bias_factor"),
        **localization_settings("alpha", "beta", "epochs", "decay_epochs", "batch_size"),
        **only(training(), "seed", "max_iterations"),
        code=code("boxes/train_bas_localizer.py"),
        augmentation={
            **only(config["localization"], "crop"),
            "square": config["localization"]["resize"],
            "interpolation": "bilinear",
        },
        weight_decay=config["localization"]["weight_decay"],
    script:
        "../workflow_scripts/boxes/train_bas_localizer.py"


rule localize:
    input:
        index=f"{BOXSET}/index.csv",
        ids=[f"{BOXSET}/splits/{split}.txt" for split in ("heldout", "val")],
        checkpoint=f"{LOCALIZER}/network.safetensors",
    output:
        maps=f"{LOCALIZER}/cams/{{scatteritem}}.h5",
        scores=f"{LOCALIZER}/predictions/{{scatteritem}}.h5",
    log:
        f"logs/{SCALE}/{{boxset}}/localize/{{variant}}/{{scatteritem}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{boxset}}/localize/{{variant}}/{{scatteritem}}.tsv"
    wildcard_constraints:
        variant="|".join(LOCALIZATION_VARIANTS),
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=config["resources"]["gpu"],
    params:
        **only(config["localization"], "resize", "crop"),
        code=code("boxes/localize.py"),
        top_k=all_top_k,
    script:
        "../workflow_scripts/boxes/localize.py"


rule evaluate_localization:
    input:
        index=f"{BOXSET}/index.csv",
        boxes=f"{BOXSET}/boxes.csv",
        ids=f"{BOXSET}/splits/val.txt",
        heldout=f"{BOXSET}/splits/heldout.txt",
        maps=f"{LOCALIZER}/cams.h5",
        scores=f"{LOCALIZER}/predictions.h5",
    output:
        scores_table=f"{LOCALIZER}/scores.csv",
        curve=f"{LOCALIZER}/gt_known.csv",
    log:
        f"logs/{SCALE}/{{boxset}}/evaluate_localization/{{variant}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{boxset}}/evaluate_localization/{{variant}}.tsv"
    wildcard_constraints:
        variant="|".join(LOCALIZATION_VARIANTS),
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_crf"]
    resources:
        mem_mb=growing(16000),
        runtime=growing(240),
    params:
        **only(config["localization"], "resize", "crop", "thresholds", "protocol"),
        code=code("boxes/evaluate_localization.py"),
        setting=author_setting,
    script:
        "../workflow_scripts/boxes/evaluate_localization.py"


rule bas_gallery:
    input:
        **{variant: f"{BOXSET}/{variant}/cams.h5" for variant in LOCALIZATION_VARIANTS},
        **{f"{variant}_scores": f"{BOXSET}/{variant}/scores.csv" for variant in LOCALIZATION_VARIANTS},
        index=f"{BOXSET}/index.csv",
        boxes=f"{BOXSET}/boxes.csv",
        ids=f"{BOXSET}/splits/val.txt",
        checkpoint=f"{BOXSET}/cam/network.safetensors",
    output:
        picture=report("results/bas_{boxset}_gallery.png", **shown("bas", "gallery", "bas_gallery", "{boxset}")),
        activations=f"{BOXSET}/activations.csv",
    log:
        f"logs/{SCALE}/{{boxset}}/bas_gallery.log",
    benchmark:
        f"benchmarks/{SCALE}/{{boxset}}/bas_gallery.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(30),
    params:
        **only(config["localization"], "resize", "crop", "protocol"),
        code=code("boxes/bas_gallery.py"),
        images=config["gallery"]["images"],
        scale=SCALE,
    script:
        "../workflow_scripts/boxes/bas_gallery.py"


rule bas_localization_table:
    input:
        [f"results/bas_{{boxset}}_{picture}.png" for picture in ("gallery", "curves", "training")],
        manifest=f"{BOXSET}/splits/manifest.json",
        scores=[f"{BOXSET}/{variant}/scores.csv" for variant in LOCALIZATION_VARIANTS],
    output:
        table=report(
            "results/bas_{boxset}_localization.csv", **shown("bas", "all scores", "table_localization", "{boxset}")
        ),
        page=report(
            "results/bas_{boxset}_localization.html", **shown("bas", "summary", "table_localization", "{boxset}")
        ),
    log:
        f"logs/{SCALE}/{{boxset}}/bas_localization_table.log",
    benchmark:
        f"benchmarks/{SCALE}/{{boxset}}/bas_localization_table.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(500),
        runtime=growing(10),
    params:
        code=code("results/result_table.py"),
        dataset=lambda wildcards: wildcards.boxset,
        method="bas",
        roles=dict.fromkeys(LOCALIZATION_VARIANTS, "val"),
        published=True,
        network=config["localization"]["network"]["backbone"],
        drawn=lambda wildcards: drawn(wildcards.boxset),
        scale=SCALE,
        seed=config["seed"],
    script:
        "../workflow_scripts/results/result_table.py"

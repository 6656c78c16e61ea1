"""BAS' boxes: index, training of BAS and of its baseline CAM, maps, evaluation, table and pictures.

The folder of a set of boxes is work/{scale}/{boxset}. The evaluation and the picture read boxes; no training does.
"""

from maskmill.data.download import described
from maskmill.data.localization import BOXSETS
from maskmill.workflow.row_settings import row_settings
from maskmill.workflow.user_files import content_digest

BOXSET = work("{boxset}")
LOCALIZER = f"{BOXSET}/{{variant}}"
LOCALIZATION_VARIANTS = ("cam", "bas")
MORE_TARGETS.append("results/bas_cub_localization.csv")
# Whether PxAP and pIoU are measured on maps of whole images.
WHOLE_MAPS = config["localization"]["pixel_scores"] == "official"


wildcard_constraints:
    boxset="|".join(BOXSETS),


def boxset_settings(boxset: str) -> dict:
    """Where a set of boxes lies: the user's own, the drawn one, or the downloaded one."""
    given = config["localization"]["data"][boxset]
    if given["root"]:
        return given
    if SCALE == "sample":
        root = work(f"{boxset}/scenes")
        lists = {"images": f"{root}/heldout/images", "lists": f"{root}/heldout/lists"}
        return {"root": root, "boxes": f"{root}/boxes", "heldout": lists}
    return given | {"root": f"downloads/{boxset}/{BOXSETS[boxset].folder}" if BOXSETS[boxset].archive else None}


def boxset_value(key: str):
    """A value of `boxset_settings` for the job's set."""
    return lambda wildcards: boxset_settings(wildcards.boxset).get(key)


def boxset_flag(wildcards) -> list[str]:
    """The flag of a set that a rule makes; nothing for the user's own."""
    root = boxset_settings(wildcards.boxset)["root"]
    return [] if root is None or config["localization"]["data"][wildcards.boxset]["root"] else [f"{root}/.complete"]


def boxset_digests(wildcards) -> list[str]:
    """Digests of the user's lists, and of the boxes where they are one file."""
    given = config["localization"]["data"][wildcards.boxset]
    folders = filter(None, [given["root"], given["heldout"] and given["heldout"]["lists"]])
    paths = [path for folder in folders for path in sorted(Path(folder).glob("*.txt"))]
    digests = map(content_digest, [*paths, given.get("boxes")])
    return [digest for digest in digests if digest is not None]


def of_boxset(key: str):
    """A value of a set's section, or of its backbone's row in it."""

    def value(wildcards):
        chosen = config["localization"]["datasets"][wildcards.boxset]
        return (chosen | chosen["backbones"][config["localization"]["network"]["backbone"]])[key]

    return value


def author_setting(wildcards) -> dict:
    """Threshold and top-k that the authors found for BAS; each null where there is none, and for the baseline."""
    return {key: of_boxset(key)(wildcards) if wildcards.variant == "bas" else None for key in ("top_k", "threshold")}


def all_top_k(wildcards) -> list[int]:
    """The values of k that maps are kept for."""
    return sorted({*config["localization"]["top_k"], of_boxset("top_k")(wildcards) or 1})


def localizer_weights() -> list[str]:
    """What a localiser's backbone starts from: the user's file, published weights, or nothing."""
    settings = config["localization"]
    if settings["pretrained"] and settings["weights"]:
        return [settings["weights"]]
    return pretrained(settings["network"]["backbone"], settings["pretrained"])


def source_of_cub(wildcards) -> str:
    """Address, place and checksum of the archive of CUB-200-2011."""
    archive, own_checksum = BOXSETS["cub"].archive, config["localization"]["data"]["cub"]["checksum"]
    return described(archive.urls, f"downloads/cub/archives/{archive.name}", own_checksum or archive.checksum)


rule download_cub:
    output:
        complete="downloads/cub/CUB_200_2011/.complete",
    log:
        "logs/downloads/download_cub.log",
    benchmark:
        "benchmarks/downloads/download_cub.tsv"
    localrule: True
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(500),
        runtime=growing(600),
        source=source_of_cub,
    params:
        checksum=config["localization"]["data"]["cub"]["checksum"],
    message:
        "{resources.source}"
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
        **settings_for("boxes/draw_localization_scenes.py", scenes=config["localization"]["data"]["sample"]),
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
        logs("{boxset}/localization_index"),
    benchmark:
        benchmarks("{boxset}/localization_index")
    conda:
        "../envs/maskmill.yaml"
    threads: 4
    resources:
        mem_mb=growing(8000),
        runtime=growing(120),
    params:
        **settings_for(
            "boxes/localization_index.py",
            root=boxset_value("root"),
            boxes=boxset_value("boxes"),
            heldout=boxset_value("heldout"),
            digests=boxset_digests,
        ),
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
        logs("{boxset}/train_bas_localizer/{variant}"),
    benchmark:
        benchmarks("{boxset}/train_bas_localizer/{variant}")
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
        **settings_for(
            "boxes/train_bas_localizer.py",
            "localization",
            but=("weights",),
            **{key: of_boxset(key) for key in ("alpha", "beta", "epochs", "decay_epochs", "batch_size")},
            augmentation={
                "crop": config["localization"]["crop"],
                "square": config["localization"]["resize"],
                "interpolation": "bilinear",
            },
        ),
    script:
        "../workflow_scripts/boxes/train_bas_localizer.py"


rule localize:
    input:
        index=f"{BOXSET}/index.csv",
        ids=[f"{BOXSET}/splits/{split}.txt" for split in ("heldout", "val")],
        checkpoint=f"{LOCALIZER}/network.safetensors",
    output:
        **({"whole_maps": f"{LOCALIZER}/whole_cams/{{scatteritem}}.h5"} if WHOLE_MAPS else {}),
        maps=f"{LOCALIZER}/cams/{{scatteritem}}.h5",
        scores=f"{LOCALIZER}/predictions/{{scatteritem}}.h5",
    log:
        logs("{boxset}/localize/{variant}/{scatteritem}"),
    benchmark:
        benchmarks("{boxset}/localize/{variant}/{scatteritem}")
    wildcard_constraints:
        variant="|".join(LOCALIZATION_VARIANTS),
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("boxes/localize.py", "localization", top_k=all_top_k),
    script:
        "../workflow_scripts/boxes/localize.py"


rule evaluate_localization:
    input:
        **({"whole_maps": f"{LOCALIZER}/whole_cams.h5"} if WHOLE_MAPS else {}),
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
        logs("{boxset}/evaluate_localization/{variant}"),
    benchmark:
        benchmarks("{boxset}/evaluate_localization/{variant}")
    wildcard_constraints:
        variant="|".join(LOCALIZATION_VARIANTS),
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_crf"]
    resources:
        mem_mb=growing(16000),
        runtime=growing(240),
    params:
        **settings_for("boxes/evaluate_localization.py", "localization", setting=author_setting),
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
        picture=report("results/bas_{boxset}_gallery.png", **in_report("bas", "gallery", "bas_gallery", "{boxset}")),
        activations=f"{BOXSET}/activations.csv",
    log:
        logs("{boxset}/bas_gallery"),
    benchmark:
        benchmarks("{boxset}/bas_gallery")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(30),
    params:
        **settings_for("boxes/bas_gallery.py", "localization", "gallery"),
    script:
        "../workflow_scripts/boxes/bas_gallery.py"


rule bas_localization_table:
    input:
        [f"results/bas_{{boxset}}_{picture}.png" for picture in ("gallery", "curves", "training")],
        manifest=f"{BOXSET}/splits/manifest.json",
        scores=[f"{BOXSET}/{variant}/scores.csv" for variant in LOCALIZATION_VARIANTS],
    output:
        table=report(
            "results/bas_{boxset}_localization.csv", **in_report("bas", "all scores", "table_localization", "{boxset}")
        ),
        page=report(
            "results/bas_{boxset}_localization.html", **in_report("bas", "summary", "table_localization", "{boxset}")
        ),
    log:
        logs("{boxset}/bas_localization_table"),
    benchmark:
        benchmarks("{boxset}/bas_localization_table")
    localrule: True
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(500),
        runtime=growing(10),
    params:
        **settings_for(
            "results/result_table.py",
            dataset=lambda wildcards: wildcards.boxset,
            method="bas",
            roles=dict.fromkeys(LOCALIZATION_VARIANTS, "val"),
            settings=lambda wildcards: row_settings(
                config, "localization", wildcards.boxset, LOCALIZATION_VARIANTS, others=TABLES
            ),
            published=True,
            network=config["localization"]["network"]["backbone"],
            drawn=lambda wildcards: drawn(wildcards.boxset),
        ),
    script:
        "../workflow_scripts/results/result_table.py"


rule bas_localization_training:
    input:
        checkpoints=[f"{BOXSET}/{variant}/network.safetensors" for variant in LOCALIZATION_VARIANTS],
    output:
        picture=report(
            "results/bas_{boxset}_training.png", **in_report("bas", "losses of the trainings", "training", "{boxset}")
        ),
    log:
        logs("{boxset}/bas_localization_training"),
    benchmark:
        benchmarks("{boxset}/bas_localization_training")
    localrule: True
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        **settings_for("results/draw_training.py", dataset=lambda wildcards: wildcards.boxset, method="bas"),
    script:
        "../workflow_scripts/results/draw_training.py"


rule bas_localization_curves:
    input:
        curves=[f"{BOXSET}/{variant}/gt_known.csv" for variant in LOCALIZATION_VARIANTS],
    output:
        picture=report(
            "results/bas_{boxset}_curves.png", **in_report("bas", "boxes over thresholds", "box_curves", "{boxset}")
        ),
    log:
        logs("{boxset}/bas_localization_curves"),
    benchmark:
        benchmarks("{boxset}/bas_localization_curves")
    localrule: True
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(500),
        runtime=growing(10),
    params:
        **settings_for(
            "results/draw_curves.py",
            dataset=lambda wildcards: wildcards.boxset,
            names=[variant.upper() for variant in LOCALIZATION_VARIANTS],
            score="GT-known localisation",
            method="bas",
        ),
    script:
        "../workflow_scripts/results/draw_curves.py"

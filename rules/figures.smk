"""Pictures beside the tables: losses of trainings, scores over thresholds, the search for the CRF; what stages cost."""

BENCHMARKS = f"benchmarks/{SCALE}"


localrules:
    mars_training,
    bas_training,
    deeplab_training,
    cwbass_training,
    mgd_training,
    p2at_training,
    barm_training,
    mixreorg_training,
    zeroseg_training,
    bas_localization_training,
    mars_curves,
    bas_curves,
    mixreorg_curves,
    zeroseg_curves,
    bas_localization_curves,
    draw_crf_search,
    costs,


for method, table in TABLES.items():

    rule:
        name:
            f"{method}_training"
        input:
            checkpoints=table["trainings"],
        output:
            picture=report(
                f"results/{method}_{{dataset}}_training.png", **shown(method, "losses of the trainings", "training")
            ),
        log:
            f"logs/{SCALE}/{{dataset}}/{method}_training.log",
        benchmark:
            f"benchmarks/{SCALE}/{{dataset}}/{method}_training.tsv"
        wildcard_constraints:
            dataset="|".join(table["datasets"]),
        conda:
            "../envs/maskmill.yaml"
        resources:
            mem_mb=growing(1000),
            runtime=growing(10),
        params:
            code=code("results/draw_training.py"),
            method=method,
            scale=SCALE,
        script:
            "../workflow_scripts/results/draw_training.py"


for method in [name for name in TABLES if "curves" in TABLES[name]]:

    rule:
        name:
            f"{method}_curves"
        input:
            curves=list(TABLES[method]["curves"].values()),
        output:
            picture=report(
                f"results/{method}_{{dataset}}_curves.png", **shown(method, "mIoU over thresholds", "curves")
            ),
        log:
            f"logs/{SCALE}/{{dataset}}/{method}_curves.log",
        benchmark:
            f"benchmarks/{SCALE}/{{dataset}}/{method}_curves.tsv"
        wildcard_constraints:
            dataset="|".join(TABLES[method]["datasets"]),
        conda:
            "../envs/maskmill.yaml"
        resources:
            mem_mb=growing(500),
            runtime=growing(10),
        params:
            code=code("results/draw_curves.py"),
            names=list(TABLES[method]["curves"]),
            score="mIoU",
            method=method,
            scale=SCALE,
        script:
            "../workflow_scripts/results/draw_curves.py"


use rule bas_training as bas_localization_training with:
    input:
        checkpoints=[f"{BOXSET}/{variant}/network.safetensors" for variant in LOCALIZATION_VARIANTS],
    output:
        picture=report(
            "results/bas_{boxset}_training.png", **shown("bas", "losses of the trainings", "training", "{boxset}")
        ),
    log:
        f"logs/{SCALE}/{{boxset}}/bas_localization_training.log",
    benchmark:
        f"benchmarks/{SCALE}/{{boxset}}/bas_localization_training.tsv"
    params:
        code=code("results/draw_training.py"),
        dataset=lambda wildcards: wildcards.boxset,
        method="bas",
        scale=SCALE,


use rule bas_curves as bas_localization_curves with:
    input:
        curves=[f"{BOXSET}/{variant}/gt_known.csv" for variant in LOCALIZATION_VARIANTS],
    output:
        picture=report(
            "results/bas_{boxset}_curves.png", **shown("bas", "boxes over thresholds", "box_curves", "{boxset}")
        ),
    log:
        f"logs/{SCALE}/{{boxset}}/bas_localization_curves.log",
    benchmark:
        f"benchmarks/{SCALE}/{{boxset}}/bas_localization_curves.tsv"
    params:
        code=code("results/draw_curves.py"),
        dataset=lambda wildcards: wildcards.boxset,
        names=[variant.upper() for variant in LOCALIZATION_VARIANTS],
        score="GT-known localisation",
        method="bas",
        scale=SCALE,


rule draw_crf_search:
    input:
        tried=f"{WORK}/{{dataset}}/deeplab/crf_search.csv",
    output:
        picture=report(
            "results/deeplab_{dataset}_crf_search.png",
            **shown("deeplab", "search for the CRF's setting", "crf_search"),
        ),
    log:
        f"logs/{SCALE}/{{dataset}}/draw_crf_search.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/draw_crf_search.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(500),
        runtime=growing(10),
    params:
        code=code("deeplab/draw_crf_search.py"),
        scale=SCALE,
    script:
        "../workflow_scripts/deeplab/draw_crf_search.py"


# Its inputs are what is asked for in the same call, so that it comes last.
rule costs:
    input:
        asked_tables,
    output:
        table=report("results/costs.csv", caption="../report/costs.rst", category="Costs", labels={"shows": "table"}),
        picture=report(
            "results/costs.png",
            caption="../report/costs.rst",
            category="Costs",
            labels={"shows": "run time and memory"},
        ),
    log:
        f"logs/{SCALE}/costs.log",
    benchmark:
        f"{BENCHMARKS}/costs.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(500),
        runtime=growing(10),
    params:
        code=code("results/costs.py"),
        folder=BENCHMARKS,
        datasets=[*DATASETS, OWN, *BOXSETS, "pairs"],
        scale=SCALE,
        measured=last_measured,
    script:
        "../workflow_scripts/results/costs.py"

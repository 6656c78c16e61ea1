"""Result tables and pictures: what `results/` holds."""

PROVIDER = config["mars"]["provider"]
MARS_SCORES = {
    "label/baseline": f"{{dataset}}/{PROVIDER}/pseudo_labels_scores.csv",
    "label/mars": f"{{dataset}}/mars/{PROVIDER}/pseudo_labels_scores.csv",
    **{
        f"student/{variant}": f"{{dataset}}/students/{PROVIDER}/{variant}/val/predictions_scores.csv"
        for variant in ("baseline", "complement", "mars")
    },
}
BAS_SCORES = {
    "seed/cam": "{dataset}/seed_scores.csv",
    "seed/bas": "{dataset}/bas/seed_scores.csv",
    "label/irn": "{dataset}/irn/pseudo_labels_scores.csv",
    "label/bas": "{dataset}/bas/pseudo_labels_scores.csv",
    "student/bas": "{dataset}/students/bas/baseline/val/predictions_scores.csv",
}
MARS_ROLES = {row: "labelled_train" if row.startswith("label/") else "val" for row in MARS_SCORES}
BAS_ROLES = {row: "val" if row.startswith("student/") else "labelled_train" for row in BAS_SCORES}
# The gallery, and figures of the stages on the way, so that a gap can be traced to the stage that lost it.
MARS_BESIDE = {
    "results/mars_{dataset}_gallery.png": "labelled_train",
    "results/mars_{dataset}_curves.png": "labelled_train",
    f"{WORK}/{{dataset}}/seed_miou.csv": "labelled_train",
    **{
        f"{WORK}/{{dataset}}/students/{PROVIDER}/{variant}/val/argmax_scores.csv": "val"
        for variant in ("baseline", "complement", "mars")
    },
}

MARS_TRAININGS = [
    "classifier/classifier",
    *{"irn": ["irn/irn"], "bas": ["bas/bas", "bas/irn"], "external": []}[PROVIDER],
    "uss/stego_head",
    *(f"students/{PROVIDER}/{variant}/student" for variant in ("baseline", "complement", "mars")),
]
BAS_TRAININGS = ["classifier/classifier", "irn/irn", "bas/bas", "bas/irn", "students/bas/baseline/student"]

WITH_BACKGROUND = [*(name for name in DATASETS if DATASETS[name].has_background), OWN]
ZEROSEG_TRAININGS = [f"zeroseg/{row}" for row in ZEROSEG_ROWS]
if config["zeroseg"]["teacher"] == "tiny":
    ZEROSEG_TRAININGS.insert(0, "tiny_clip")
# One table a method: `roles` is the split that each row was scored on, `scores` and `costs` are in the order of the rows,
# `beside` is made with the table. Pictures: `compared` are groups of rows, the baseline first, whose IoUs are drawn;
# `trainings` are the checkpoints whose losses are, `curves` the scores over thresholds that are, by their names.
TABLES = {
    "mars": {
        "datasets": WITH_BACKGROUND,
        "roles": scored_rows(MARS_ROLES),
        "scores": scored_files({f"{WORK}/{path}": MARS_ROLES[row] for row, path in MARS_SCORES.items()}),
        "beside": scored_files(MARS_BESIDE),
        "published": PROVIDER == "irn",
        "note": f"; labels of {PROVIDER}",
        "compared": [["label/baseline", "label/mars"], ["student/baseline", "student/mars"]],
        "trainings": [f"{WORK}/{{dataset}}/{path}.safetensors" for path in MARS_TRAININGS],
        "curves": {"CAM": f"{WORK}/{{dataset}}/seed_miou.csv"},
    },
    "bas": {
        "datasets": WITH_BACKGROUND,
        "roles": scored_rows(BAS_ROLES),
        "scores": scored_files({f"{WORK}/{path}": BAS_ROLES[row] for row, path in BAS_SCORES.items()}),
        "beside": scored_files({"results/bas_{dataset}_curves.png": "labelled_train"}),
        "published": True,
        "compared": [["seed/cam", "seed/bas"], ["label/irn", "label/bas"]],
        "trainings": [f"{WORK}/{{dataset}}/{path}.safetensors" for path in BAS_TRAININGS],
        "curves": {"CAM": f"{WORK}/{{dataset}}/seed_miou.csv", "BAS": f"{WORK}/{{dataset}}/bas/seed_miou.csv"},
    },
    "deeplab": {
        "datasets": list(DATASETS),
        "roles": dict.fromkeys(DEEPLAB_SCORES, "val"),
        "scores": list(DEEPLAB_SCORES.values()),
        "beside": ["results/deeplab_{dataset}_crf_search.png"] if config["deeplab"]["crf"] == "search" else [],
        "published": True,
        "compared": [["largefov", "aspp_l", "aspp_l+crf"]],
        "trainings": [f"{WORK}/{{dataset}}/deeplab/{row}/network.safetensors" for row in config["deeplab"]["variants"]],
    },
    "cwbass": {
        "datasets": [*config["partitions"], OWN],
        "roles": lambda wildcards: dict.fromkeys(cwbass_rows(wildcards.dataset), "val"),
        "scores": of_partition("cwbass", cwbass_rows, "val/argmax_scores.csv"),
        "costs": of_partition("cwbass", cwbass_rows, "cost.csv"),
        "partition": True,
        "published": False,
        "compared": [["supervised", "cwbass"]],
        "trainings": of_partition("cwbass", cwbass_rows, "network.safetensors"),
    },
    "mgd": {
        "datasets": [*config["partitions"], OWN],
        "roles": lambda wildcards: dict.fromkeys(mgd_rows(wildcards.dataset), "val"),
        "scores": of_partition("mgd", mgd_rows, "val/argmax_scores.csv"),
        "costs": of_partition("mgd", mgd_rows, "cost.csv"),
        "partition": True,
        "published": False,
        "compared": lambda wildcards: mgd_pairs(wildcards.dataset),
        "trainings": of_partition("mgd", mgd_rows, "network.safetensors"),
    },
    "p2at": {
        "datasets": P2AT_DATASETS,
        "roles": dict.fromkeys(P2AT_SCORES, "val"),
        "scores": list(P2AT_SCORES.values()),
        "published": True,
        "compared": [["plain_decoder", "s", "m", "l"]],
        "trainings": [f"{WORK}/{{dataset}}/p2at/{row}/network.safetensors" for row in P2AT_VARIANTS],
    },
    "barm": {
        "datasets": list(config["barm"]["tasks"]),
        "roles": lambda wildcards: dict.fromkeys(barm_scores(wildcards.dataset), "val"),
        "scores": lambda wildcards: list(barm_scores(wildcards.dataset).values()),
        "beside": barm_beside,
        "published": config["barm"]["scheme"] == "overlapped" and config["barm"]["eval_policy"] == "crop513",
        "note": f"; {config['barm']['scheme']}, {config['barm']['eval_policy']}",
        "compared": lambda wildcards: [
            [f"{task}/{row}" for row in ("finetune", "barm", "joint")]
            for task in config["barm"]["tasks"][wildcards.dataset]
        ],
        "trainings": barm_trainings,
    },
    "mixreorg": {
        "datasets": MIXREORG_DATASETS,
        "roles": dict.fromkeys(MIXREORG_SCORES, "val"),
        "scores": list(MIXREORG_SCORES.values()),
        "costs": [f"{WORK}/pairs/mixreorg/{row}/mixing.csv" for row in ("groupvit", "mixreorg")],
        "beside": curves_of("mixreorg"),
        "published": True,
        "compared": [["groupvit", "mixreorg"]],
        "trainings": [f"{WORK}/pairs/mixreorg/{row}/network.safetensors" for row in ("groupvit", "mixreorg")],
        "curves": {row: f"{WORK}/{{dataset}}/mixreorg/{row}/thresholds.csv" for row in ("groupvit", "mixreorg")},
    },
    "zeroseg": {
        "datasets": ZEROSEG_DATASETS,
        "roles": dict.fromkeys(ZEROSEG_SCORES, "val"),
        "scores": list(ZEROSEG_SCORES.values()),
        "costs": [f"{WORK}/pairs/zeroseg/{row}/views.csv" for row in ZEROSEG_ROWS],
        "beside": curves_of("zeroseg"),
        "published": True,
        "compared": [["base", "zeroseg"]],
        "trainings": [f"{WORK}/pairs/{path}/network.safetensors" for path in ZEROSEG_TRAININGS],
        "curves": {"zeroseg": f"{WORK}/{{dataset}}/zeroseg/zeroseg/thresholds.csv"},
    },
}


localrules:
    mars_table,
    bas_table,
    deeplab_table,
    cwbass_table,
    mgd_table,
    p2at_table,
    barm_table,
    mixreorg_table,
    zeroseg_table,
    summary,


for method, table in TABLES.items():

    rule:
        name:
            f"{method}_table"
        input:
            table.get("beside", []),
            f"results/{method}_{{dataset}}_training.png",
            manifest=f"{WORK}/{{dataset}}/splits/manifest.json",
            partition=partition_manifest if table.get("partition") else [],
            scores=table["scores"],
            costs=table.get("costs", []),
        output:
            table=report(f"results/{method}_{{dataset}}_miou.csv", **shown(method, "all scores", f"table_{method}")),
            page=report(f"results/{method}_{{dataset}}_miou.html", **shown(method, "summary", f"table_{method}")),
            picture=report(f"results/{method}_{{dataset}}_classes.png", **shown(method, "IoU of each class", "classes")),
        log:
            f"logs/{SCALE}/{{dataset}}/{method}_table.log",
        benchmark:
            f"benchmarks/{SCALE}/{{dataset}}/{method}_table.tsv"
        wildcard_constraints:
            dataset="|".join(table["datasets"]),
        conda:
            "../envs/maskmill.yaml"
        resources:
            mem_mb=growing(500),
            runtime=growing(10),
        params:
            code=code("results/result_table.py"),
            method=method,
            roles=table["roles"],
            published=table["published"],
            note=table.get("note", ""),
            compared=table["compared"],
            drawn=lambda wildcards: drawn(wildcards.dataset),
            scale=SCALE,
            seed=config["seed"],
        script:
            "../workflow_scripts/results/result_table.py"


# Its tables are no inputs: asking for the summary of what is there must not start what is missing.
rule summary:
    output:
        csv="results/summary.csv",
        markdown="results/summary.md",
    log:
        "logs/summary.log",
    benchmark:
        "benchmarks/summary.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(500),
        runtime=growing(10),
    params:
        code=code("results/summary.py"),
        tables=finished_tables,
        contents=finished_contents,
    script:
        "../workflow_scripts/results/summary.py"


rule select_gallery:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=ids_of("labelled_train"),
        labels=f"{WORK}/{{dataset}}/{{provider}}/pseudo_labels.h5",
    output:
        gallery=f"{WORK}/{{dataset}}/mars/{{provider}}/gallery.txt",
    log:
        f"logs/{SCALE}/{{dataset}}/select_gallery/{{provider}}.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/select_gallery/{{provider}}.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(20),
    params:
        code=code("mars/select_gallery.py"),
        images=config["gallery"]["images"],
    script:
        "../workflow_scripts/mars/select_gallery.py"


rule mars_gallery:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=f"{WORK}/{{dataset}}/mars/{PROVIDER}/gallery.txt",
        cams=f"{WORK}/{{dataset}}/cams.h5",
        biased=f"{WORK}/{{dataset}}/{PROVIDER}/pseudo_labels.h5",
        debiased=f"{WORK}/{{dataset}}/mars/{PROVIDER}/pseudo_labels.h5",
        predictions=f"{WORK}/{{dataset}}/students/{PROVIDER}/mars/gallery/predictions.h5",
    output:
        picture=report("results/mars_{dataset}_gallery.png", **shown("mars", "gallery", "mars_gallery")),
    log:
        f"logs/{SCALE}/{{dataset}}/mars_gallery.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/mars_gallery.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        code=code("mars/mars_gallery.py"),
        scale=SCALE,
        short_side=short_side,
    script:
        "../workflow_scripts/mars/mars_gallery.py"

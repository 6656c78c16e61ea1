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
# Figures of the stages on the way, so that a gap can be traced to the stage that lost it.
MARS_STAGES = [
    "{dataset}/seed_miou.csv",
    *(
        f"{{dataset}}/students/{PROVIDER}/{variant}/val/argmax_scores.csv"
        for variant in ("baseline", "complement", "mars")
    ),
]


localrules:
    mars_table,


rule mars_table:
    input:
        manifest=f"{WORK}/{{dataset}}/splits/manifest.json",
        scores=[f"{WORK}/{path}" for path in MARS_SCORES.values()],
        stages=[f"{WORK}/{path}" for path in MARS_STAGES],
        picture="results/mars_{dataset}_gallery.png",
    output:
        table="results/mars_{dataset}_miou.csv",
    log:
        f"logs/{SCALE}/{{dataset}}/mars_table.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/mars_table.tsv"
    wildcard_constraints:
        dataset="|".join(name for name in DATASETS if DATASETS[name].has_background),
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=500,
        runtime=10,
    params:
        code=code("result_table.py"),
        method="mars",
        roles={variant: "labelled_train" if variant.startswith("label/") else "val" for variant in MARS_SCORES},
        published=PROVIDER == "irn",
        scale=SCALE,
        seed=config["seed"],
    script:
        "../workflow_scripts/result_table.py"


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
        mem_mb=1000,
        runtime=20,
    params:
        code=code("select_gallery.py"),
        images=config["gallery"]["images"],
    script:
        "../workflow_scripts/select_gallery.py"


rule mars_gallery:
    input:
        index=f"{WORK}/{{dataset}}/index.csv",
        ids=f"{WORK}/{{dataset}}/mars/{PROVIDER}/gallery.txt",
        cams=f"{WORK}/{{dataset}}/cams.h5",
        biased=f"{WORK}/{{dataset}}/{PROVIDER}/pseudo_labels.h5",
        debiased=f"{WORK}/{{dataset}}/mars/{PROVIDER}/pseudo_labels.h5",
        predictions=f"{WORK}/{{dataset}}/students/{PROVIDER}/mars/gallery/predictions.h5",
    output:
        picture="results/mars_{dataset}_gallery.png",
    log:
        f"logs/{SCALE}/{{dataset}}/mars_gallery.log",
    benchmark:
        f"benchmarks/{SCALE}/{{dataset}}/mars_gallery.tsv"
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("mars_gallery.py"),
        scale=SCALE,
        short_side=short_side,
    script:
        "../workflow_scripts/mars_gallery.py"

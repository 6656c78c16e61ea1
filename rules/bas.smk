"""BAS: seeds that cover whole objects; and the chain of IRN's rules on them, which makes `bas` a provider of labels."""

BAS = work("{dataset}/bas")


def bas_rows(dataset: str) -> list[Row]:
    """Seeds and labels of CAM and IRN and of BAS, and the plain student on BAS' labels."""
    scores = {
        "seed/cam": "seed_scores.csv",
        "seed/bas": "bas/seed_scores.csv",
        "label/irn": "irn/pseudo_labels_scores.csv",
        "label/bas": "bas/pseudo_labels_scores.csv",
    }
    seeds_and_labels = [Row(name, work(f"{dataset}/{path}"), "labelled_train") for name, path in scores.items()]
    student = Row("student/bas", work(f"{dataset}/students/bas/baseline/val/predictions_scores.csv"))
    return scored_rows(dataset, [*seeds_and_labels, student])


def bas_trainings(dataset: str) -> list[str]:
    """The checkpoints behind the table."""
    names = ["classifier/classifier", "irn/irn", "bas/bas", "bas/irn", "students/bas/baseline/student"]
    return [work(f"{dataset}/{name}.safetensors") for name in names]


def bas_extras(dataset: str) -> list[str]:
    """The picture of the seeds' scores over thresholds, where training images have masks."""
    return [f"results/bas_{dataset}_curves.png"] if "labelled_train" in scored_roles(dataset) else []


TABLES["bas"] = Table(
    title="BAS (Wu et al., CVPR 2022)",
    datasets=WITH_BACKGROUND,
    rows=bas_rows,
    compared=lambda dataset: [["seed/cam", "seed/bas"], ["label/irn", "label/bas"]],
    trainings=bas_trainings,
    curves={"CAM": work("{dataset}/seed_miou.csv"), "BAS": work("{dataset}/bas/seed_miou.csv")},
    extras=bas_extras,
)


rule train_bas:
    input:
        **starting_points(config["bas"]["init"], config["bas"]["network"]["backbone"]),
        index=work("{dataset}/index.csv"),
        ids=ids_of("train"),
    output:
        checkpoint=f"{BAS}/bas.safetensors",
    log:
        logs("{dataset}/train_bas"),
    benchmark:
        benchmarks("{dataset}/train_bas")
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(32000),
        runtime=1440,
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("bas/train_bas.py", "bas"),
    script:
        "../workflow_scripts/bas/train_bas.py"


rule bas_maps:
    input:
        **({"full_cams": work("{dataset}/full_cams.h5")} if FULL_SEEDS else {}),
        index=work("{dataset}/index.csv"),
        ids=ids_of("train"),
        cams=work("{dataset}/cams.h5"),
        checkpoint=f"{BAS}/bas.safetensors",
    output:
        **({"full_maps": f"{BAS}/full_cams/{{scatteritem}}.h5"} if FULL_SEEDS else {}),
        maps=f"{BAS}/cams/{{scatteritem}}.h5",
    log:
        logs("{dataset}/bas_maps/{scatteritem}"),
    benchmark:
        benchmarks("{dataset}/bas_maps/{scatteritem}")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("bas/bas_maps.py", "bas"),
    script:
        "../workflow_scripts/bas/bas_maps.py"


use rule evaluate_seeds as evaluate_bas_seeds with:
    input:
        index=work("{dataset}/index.csv"),
        ids=ids_of("labelled_train"),
        maps=f"{BAS}/{SEEDS}.h5",
    output:
        curve=f"{BAS}/seed_miou.csv",
        scores_table=f"{BAS}/seed_scores.csv",
    log:
        logs("{dataset}/evaluate_bas_seeds"),
    benchmark:
        benchmarks("{dataset}/evaluate_bas_seeds")


use rule affinity_labels as bas_affinity_labels with:
    input:
        index=work("{dataset}/index.csv"),
        ids=ids_of("train"),
        cams=f"{BAS}/{SEEDS}.h5",
    output:
        maps=f"{BAS}/affinity_labels/{{scatteritem}}.h5",
    log:
        logs("{dataset}/bas_affinity_labels/{scatteritem}"),
    benchmark:
        benchmarks("{dataset}/bas_affinity_labels/{scatteritem}")
    params:
        **settings_for("tags/affinity_labels.py", "irn", "bas.irn", crf=config["crf"]["irn"]),


use rule train_irn as train_bas_irn with:
    input:
        **IRN_START,
        index=work("{dataset}/index.csv"),
        ids=ids_of("train"),
        labels=f"{BAS}/affinity_labels.h5",
    output:
        checkpoint=f"{BAS}/irn.safetensors",
    log:
        logs("{dataset}/train_bas_irn"),
    benchmark:
        benchmarks("{dataset}/train_bas_irn")


use rule random_walk as bas_random_walk with:
    input:
        index=work("{dataset}/index.csv"),
        ids=ids_of("train"),
        cams=f"{BAS}/cams.h5",
        checkpoint=f"{BAS}/irn.safetensors",
    output:
        maps=f"{BAS}/pseudo_labels/{{scatteritem}}.h5",
    log:
        logs("{dataset}/bas_random_walk/{scatteritem}"),
    benchmark:
        benchmarks("{dataset}/bas_random_walk/{scatteritem}")
    params:
        **settings_for("tags/random_walk.py", "irn", "bas.irn"),

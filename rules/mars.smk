"""MARS: unsupervised features, biased and debiased pseudo labels, and the student that learns from them.

`provider` names the labels that MARS starts from: those of IRN, of BAS, or PNG files of another method (external).
"""

PROVIDER = config["mars"]["provider"]
STUDENTS = ("baseline", *config["mars"]["ablations"], "mars")
STUDENT = work("{dataset}/students/{provider}/{variant}")
STUDENT_START = starting_points(config["student_init"], config["student"]["network"]["backbone"])
FEATURE_WEIGHTS = pretrained(config["uss"]["features"], config["uss"]["pretrained"])


wildcard_constraints:
    provider="irn|bas|external",


def labels_of(variant: str) -> str:
    """The pseudo labels that a student learns from."""
    folder = "{provider}" if variant == "baseline" else "mars/{provider}"
    return work(f"{{dataset}}/{folder}/pseudo_labels.h5")


def predicted_ids(wildcards) -> str:
    """The id list of the images to predict: a split, or the ones that the gallery shows."""
    if wildcards.split == "gallery":
        return work(f"{wildcards.dataset}/mars/{wildcards.provider}/gallery.txt")
    return work(f"{wildcards.dataset}/splits/{wildcards.split}.txt")


def student_files(dataset: str, name: str) -> list[str]:
    """A file of each student on the provider's labels."""
    return [work(f"{dataset}/students/{PROVIDER}/{variant}/{name}") for variant in STUDENTS]


def mars_rows(dataset: str) -> list[Row]:
    """Labels before and after MARS, scored on the training images that have masks; then the students."""
    scores = {"baseline": f"{PROVIDER}/pseudo_labels_scores.csv", "mars": f"mars/{PROVIDER}/pseudo_labels_scores.csv"}
    labels = [Row(f"label/{name}", work(f"{dataset}/{path}"), "labelled_train") for name, path in scores.items()]
    students = zip(STUDENTS, student_files(dataset, "val/predictions_scores.csv"))
    return scored_rows(dataset, [*labels, *(Row(f"student/{variant}", path) for variant, path in students)])


def mars_extras(dataset: str) -> list[str]:
    """The gallery, and scores of the stages on the way, so that a gap can be traced to the stage that lost it."""
    pictures = [f"results/mars_{dataset}_gallery.png", f"results/mars_{dataset}_curves.png"]
    of_labels = [*pictures, work(f"{dataset}/seed_miou.csv")] if "labelled_train" in scored_roles(dataset) else []
    return [*of_labels, *student_files(dataset, "val/argmax_scores.csv")]


def mars_trainings(dataset: str) -> list[str]:
    """The checkpoints behind the table."""
    of_provider = {"irn": ["irn/irn"], "bas": ["bas/bas", "bas/irn"], "external": []}[PROVIDER]
    names = ["classifier/classifier", *of_provider, "uss/stego_head"]
    return [*(work(f"{dataset}/{name}.safetensors") for name in names), *student_files(dataset, "student.safetensors")]


TABLES["mars"] = Table(
    title="MARS (Jo et al., ICCV 2023)",
    datasets=WITH_BACKGROUND,
    rows=mars_rows,
    compared=lambda dataset: [["label/baseline", "label/mars"], ["student/baseline", "student/mars"]],
    trainings=mars_trainings,
    curves={"CAM": work("{dataset}/seed_miou.csv")},
    extras=mars_extras,
    published=PROVIDER == "irn",
    builds_on=("bas",) if PROVIDER == "bas" else (),
    note=f"; labels of {PROVIDER}",
    exported=lambda dataset: work(f"{dataset}/students/{PROVIDER}/{{network}}/student.safetensors"),
)


rule import_masks:
    input:
        index=work("{dataset}/index.csv"),
        ids=ids_of("train"),
    output:
        maps=work("{dataset}/external/pseudo_labels/{scatteritem}.h5"),
    log:
        logs("{dataset}/import_masks/{scatteritem}"),
    benchmark:
        benchmarks("{dataset}/import_masks/{scatteritem}")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(60),
    params:
        **settings_for("mars/import_masks.py", folder=config["mars"]["external"]),
    script:
        "../workflow_scripts/mars/import_masks.py"


rule uss_neighbours:
    input:
        index=work("{dataset}/index.csv"),
        ids=ids_of("train"),
        weights=FEATURE_WEIGHTS,
    output:
        neighbours=work("{dataset}/uss/neighbours.safetensors"),
    log:
        logs("{dataset}/uss_neighbours"),
    benchmark:
        benchmarks("{dataset}/uss_neighbours")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("mars/uss_neighbours.py", "uss", but=("neighbours",), k=config["uss"]["neighbours"]),
    script:
        "../workflow_scripts/mars/uss_neighbours.py"


rule train_uss:
    input:
        index=work("{dataset}/index.csv"),
        ids=ids_of("train"),
        neighbours=work("{dataset}/uss/neighbours.safetensors"),
        weights=FEATURE_WEIGHTS,
    output:
        checkpoint=work("{dataset}/uss/stego_head.safetensors"),
    log:
        logs("{dataset}/train_uss"),
    benchmark:
        benchmarks("{dataset}/train_uss")
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(16000),
        runtime=720,
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("mars/train_uss.py", "uss", but=("neighbours",)),
    script:
        "../workflow_scripts/mars/train_uss.py"


rule uss_features:
    input:
        index=work("{dataset}/index.csv"),
        ids=ids_of("train"),
        checkpoint=work("{dataset}/uss/stego_head.safetensors"),
        weights=FEATURE_WEIGHTS,
    output:
        maps=work("{dataset}/uss/features/{scatteritem}.h5"),
    log:
        logs("{dataset}/uss_features/{scatteritem}"),
    benchmark:
        benchmarks("{dataset}/uss_features/{scatteritem}")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("mars/uss_features.py", "uss"),
    script:
        "../workflow_scripts/mars/uss_features.py"


# MARS's students wait for debiased labels, and the baseline's student does not: debiasing comes before its training.
rule image_centroids:
    input:
        ids=ids_of("train"),
        features=work("{dataset}/uss/features.h5"),
        labels=work("{dataset}/{provider}/pseudo_labels.h5"),
    output:
        centroids=work("{dataset}/mars/{provider}/centroids/{scatteritem}.h5"),
    log:
        logs("{dataset}/image_centroids/{provider}/{scatteritem}"),
    benchmark:
        benchmarks("{dataset}/image_centroids/{provider}/{scatteritem}")
    priority: 1
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
    params:
        **settings_for("mars/image_centroids.py", "mars"),
    script:
        "../workflow_scripts/mars/image_centroids.py"


rule debiased_centroids:
    input:
        index=work("{dataset}/index.csv"),
        shards=gather.images(work("{{dataset}}/mars/{{provider}}/centroids/{scatteritem}.h5")),
    output:
        debiased=work("{dataset}/mars/{provider}/debiased_centroids.h5"),
    log:
        logs("{dataset}/debiased_centroids/{provider}"),
    benchmark:
        benchmarks("{dataset}/debiased_centroids/{provider}")
    priority: 1
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        **settings_for("mars/debiased_centroids.py", "mars"),
    script:
        "../workflow_scripts/mars/debiased_centroids.py"


rule debias_labels:
    input:
        index=work("{dataset}/index.csv"),
        ids=ids_of("train"),
        features=work("{dataset}/uss/features.h5"),
        labels=work("{dataset}/{provider}/pseudo_labels.h5"),
        debiased=work("{dataset}/mars/{provider}/debiased_centroids.h5"),
    output:
        maps=work("{dataset}/mars/{provider}/pseudo_labels/{scatteritem}.h5"),
    log:
        logs("{dataset}/debias_labels/{provider}/{scatteritem}"),
    benchmark:
        benchmarks("{dataset}/debias_labels/{provider}/{scatteritem}")
    priority: 1
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_crf"]
    resources:
        mem_mb=growing(2000),
        runtime=growing(120),
    params:
        **settings_for("mars/debias_labels.py", "mars", crf=config["crf"]["deeplab"]),
    script:
        "../workflow_scripts/mars/debias_labels.py"


rule train_student:
    input:
        **STUDENT_START,
        index=work("{dataset}/index.csv"),
        ids=ids_of("train"),
        labels=labels_of("baseline"),
    output:
        checkpoint=work("{dataset}/students/{provider}/baseline/student.safetensors"),
    log:
        logs("{dataset}/train_student/{provider}"),
    benchmark:
        benchmarks("{dataset}/train_student/{provider}")
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(32000),
        runtime=1440,
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("mars/train_student.py", "student"),
    script:
        "../workflow_scripts/mars/train_student.py"


rule train_mars_student:
    input:
        **STUDENT_START,
        index=work("{dataset}/index.csv"),
        ids=ids_of("train"),
        labels=labels_of("mars"),
    output:
        checkpoint=work("{dataset}/students/{provider}/{variant}/student.safetensors"),
    log:
        logs("{dataset}/train_mars_student/{provider}_{variant}"),
    benchmark:
        benchmarks("{dataset}/train_mars_student/{provider}_{variant}")
    wildcard_constraints:
        variant="complement|mars",
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(32000),
        runtime=1440,
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("mars/train_mars_student.py", "student", "mars.teacher", crf=config["crf"]["deeplab"]),
    script:
        "../workflow_scripts/mars/train_mars_student.py"


rule predict:
    input:
        index=work("{dataset}/index.csv"),
        ids=predicted_ids,
        checkpoint=f"{STUDENT}/student.safetensors",
    output:
        maps=temp(f"{STUDENT}/{{split}}/probabilities/{{scatteritem}}.h5"),
        labels=f"{STUDENT}/{{split}}/argmax/{{scatteritem}}.h5",
    log:
        logs("{dataset}/predict/{provider}_{variant}_{split}/{scatteritem}"),
    benchmark:
        benchmarks("{dataset}/predict/{provider}_{variant}_{split}/{scatteritem}")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("mars/predict.py", "prediction"),
    script:
        "../workflow_scripts/mars/predict.py"


rule crf_predictions:
    input:
        index=work("{dataset}/index.csv"),
        ids=predicted_ids,
        probabilities=f"{STUDENT}/{{split}}/probabilities/{{scatteritem}}.h5",
    output:
        maps=f"{STUDENT}/{{split}}/predictions/{{scatteritem}}.h5",
    log:
        logs("{dataset}/crf_predictions/{provider}_{variant}_{split}/{scatteritem}"),
    benchmark:
        benchmarks("{dataset}/crf_predictions/{provider}_{variant}_{split}/{scatteritem}")
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_crf"]
    resources:
        mem_mb=growing(2000),
        runtime=growing(120),
    params:
        **settings_for("mars/crf_predictions.py", crf=config["crf"]["deeplab"]),
    script:
        "../workflow_scripts/mars/crf_predictions.py"


rule select_gallery:
    input:
        index=work("{dataset}/index.csv"),
        ids=ids_of("labelled_train"),
        labels=work("{dataset}/{provider}/pseudo_labels.h5"),
    output:
        gallery=work("{dataset}/mars/{provider}/gallery.txt"),
    log:
        logs("{dataset}/select_gallery/{provider}"),
    benchmark:
        benchmarks("{dataset}/select_gallery/{provider}")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(20),
    params:
        **settings_for("mars/select_gallery.py", "gallery"),
    script:
        "../workflow_scripts/mars/select_gallery.py"


rule mars_gallery:
    input:
        index=work("{dataset}/index.csv"),
        ids=work(f"{{dataset}}/mars/{PROVIDER}/gallery.txt"),
        cams=work("{dataset}/cams.h5"),
        biased=work(f"{{dataset}}/{PROVIDER}/pseudo_labels.h5"),
        debiased=work(f"{{dataset}}/mars/{PROVIDER}/pseudo_labels.h5"),
        predictions=work(f"{{dataset}}/students/{PROVIDER}/mars/gallery/predictions.h5"),
    output:
        picture=report("results/mars_{dataset}_gallery.png", **in_report("mars", "gallery", "mars_gallery")),
    log:
        logs("{dataset}/mars_gallery"),
    benchmark:
        benchmarks("{dataset}/mars_gallery")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        **settings_for("mars/mars_gallery.py"),
    script:
        "../workflow_scripts/mars/mars_gallery.py"

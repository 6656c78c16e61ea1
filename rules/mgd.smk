"""MGD: a deep and a wide teacher by cross pseudo supervision, light students that learn from both."""

from maskmill.storage.caches import BATCH_STORES

MGD = f"{PARTITION}/mgd"
MGD_TEACHER = f"{MGD}/teacher_{{teacher}}/network.safetensors"
of_teacher = setting_of("mgd", "teachers", "teacher")
of_student = setting_of("mgd", "students", "student")


wildcard_constraints:
    student="|".join(config["mgd"]["students"]),


def mgd_pairs(dataset: str) -> list[list[str]]:
    """Each of MGD's students, alone and taught."""
    mode = section("mgd", dataset)["mode"]
    return [[f"{student}_supervised", f"{student}_{mode}"] for student in kept("mgd", "students", dataset)]


def mgd_names(dataset: str) -> list[str]:
    """The rows of MGD's table: its teachers, and its students."""
    return ["teacher_deep", "teacher_wide", *(row for pair in mgd_pairs(dataset) for row in pair)]


TABLES["mgd"] = Table(
    title="MGD (Qin et al., ECCV 2022)",
    datasets=PARTITIONED,
    rows=lambda dataset: partition_rows("mgd", mgd_names(dataset), dataset),
    compared=mgd_pairs,
    trainings=lambda dataset: partition_trainings("mgd", mgd_names(dataset), dataset),
    published=False,
    manifest=partition_manifest,
    exported=lambda dataset: (
        f"{partition_of(dataset)}/mgd/{{network}}_{section('mgd', dataset)['mode']}/network.safetensors"
    ),
)


def mgd_weights(network):
    """The published weights that a teacher or a student starts from."""
    return lambda wildcards: pretrained(network(wildcards)["backbone"], section("mgd", wildcards.dataset)["pretrained"])


def mgd_ohem(role: str):
    """Pixels per image that the hard-pixel loss keeps; None for the plain cross entropy."""

    def value(wildcards):
        pixels = section("mgd", wildcards.dataset)["ohem"]
        return pixels and pixels.get(role)

    return value


def mgd_epochs(wildcards) -> float:
    """Epochs of MGD's students: one number, or that of the job's partition."""
    epochs = section("mgd", wildcards.dataset)["epochs"]
    if not isinstance(epochs, dict):
        return epochs
    by_part = {part_name(part): number for part, number in epochs.items()}
    if wildcards.part not in by_part:
        raise WorkflowError(
            f"config: mgd.epochs has no number for partition {wildcards.protocol}/{wildcards.part} of "
            f"{wildcards.dataset}, only for {', '.join(map(str, epochs))}; add one there, or give a single number"
        )
    return by_part[wildcards.part]


def mgd_teacher_epochs(wildcards) -> float:
    """Epochs of MGD's teachers; as many as the students' by default."""
    return section("mgd", wildcards.dataset)["teacher_epochs"] or mgd_epochs(wildcards)


def mgd_cached_epochs(wildcards) -> float:
    """Epochs whose batches the teachers label in advance; all of the students' by default."""
    return section("mgd", wildcards.dataset)["cached_epochs"] or mgd_epochs(wildcards)


rule train_cps_teacher:
    input:
        index=work("{dataset}/index.csv"),
        labelled=f"{PARTITION}/labelled.txt",
        unlabelled=f"{PARTITION}/unlabelled.txt",
        weights=mgd_weights(of_teacher("network")),
    output:
        checkpoint=MGD_TEACHER,
    log:
        logs("{dataset}/train_cps_teacher/{protocol}_{part}_{teacher}"),
    benchmark:
        benchmarks("{dataset}/train_cps_teacher/{protocol}_{part}_{teacher}")
    wildcard_constraints:
        teacher="deep|wide",
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(64000),
        runtime=2880,
        gpu=config["resources"]["gpu"],
    params:
        **settings_for(
            "few_masks/train_cps_teacher.py",
            "mgd",
            network=of_teacher("network"),
            lr=of_teacher("lr"),
            epochs=mgd_teacher_epochs,
            batch_size=setting("mgd", "teacher_batch_size"),
            ohem=mgd_ohem("teacher"),
        ),
    script:
        "../workflow_scripts/few_masks/train_cps_teacher.py"


rule cache_batches:
    input:
        index=work("{dataset}/index.csv"),
        labelled=f"{PARTITION}/labelled.txt",
        unlabelled=f"{PARTITION}/unlabelled.txt",
        wide=f"{MGD}/teacher_wide/network.safetensors",
        deep=f"{MGD}/teacher_deep/network.safetensors",
    output:
        **{name: f"{MGD}/cache/{name}/{{scatteritem}}.h5" for name in BATCH_STORES},
    log:
        logs("{dataset}/cache_batches/{protocol}_{part}/{scatteritem}"),
    benchmark:
        benchmarks("{dataset}/cache_batches/{protocol}_{part}/{scatteritem}")
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]  # it cuts crops as a training does
    resources:
        mem_mb=growing(16000),
        runtime=growing(480),
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("few_masks/cache_batches.py", "mgd", epochs=mgd_cached_epochs),
    script:
        "../workflow_scripts/few_masks/cache_batches.py"


rule train_supervised_student:
    input:
        index=work("{dataset}/index.csv"),
        labelled=f"{PARTITION}/labelled.txt",
        unlabelled=f"{PARTITION}/unlabelled.txt",
        weights=mgd_weights(of_student("network")),
    output:
        checkpoint=f"{MGD}/{{student}}_supervised/network.safetensors",
    log:
        logs("{dataset}/train_supervised_student/{protocol}_{part}_{student}"),
    benchmark:
        benchmarks("{dataset}/train_supervised_student/{protocol}_{part}_{student}")
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(32000),
        runtime=1440,
        gpu=config["resources"]["gpu"],
    params:
        **settings_for(
            "few_masks/train_supervised.py",
            "mgd",
            architecture="DeepLabV3PlusMGD",
            decay_norms=False,
            network=of_student("network"),
            lr=of_student("lr"),
            epochs=mgd_epochs,
            ohem=mgd_ohem("student"),
        ),
    script:
        "../workflow_scripts/few_masks/train_supervised.py"


rule train_mgd_student:
    input:
        index=work("{dataset}/index.csv"),
        labelled=f"{PARTITION}/labelled.txt",
        unlabelled=f"{PARTITION}/unlabelled.txt",
        wide=f"{MGD}/teacher_wide/network.safetensors",
        deep=f"{MGD}/teacher_deep/network.safetensors",
        stores=lambda wildcards: (
            [f"{MGD}/cache/{name}.h5" for name in BATCH_STORES] if wildcards.mode == "cached" else []
        ),
        weights=mgd_weights(of_student("network")),
    output:
        checkpoint=f"{MGD}/{{student}}_{{mode}}/network.safetensors",
    log:
        logs("{dataset}/train_mgd_student/{protocol}_{part}_{student}_{mode}"),
    benchmark:
        benchmarks("{dataset}/train_mgd_student/{protocol}_{part}_{student}_{mode}")
    wildcard_constraints:
        mode="cached|online",
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(64000),
        runtime=1440,
        gpu=config["resources"]["gpu"],
    params:
        **settings_for(
            "few_masks/train_mgd_student.py",
            "mgd",
            network=of_student("network"),
            lr=of_student("lr"),
            lambda_1=of_student("lambda_1"),
            lambda_2=of_student("lambda_2"),
            epochs=mgd_epochs,
            cached_epochs=lambda wildcards: mgd_cached_epochs(wildcards) if wildcards.mode == "cached" else None,
            ohem=mgd_ohem("student"),
        ),
    script:
        "../workflow_scripts/few_masks/train_mgd_student.py"

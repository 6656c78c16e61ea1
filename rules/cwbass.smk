"""CW-BASS: a supervised teacher, its labels and confidence, a student that weighs them; and the student's ablations."""

CWBASS = f"{PARTITION}/cwbass"
CWBASS_TEACHER = f"{CWBASS}/supervised/network.safetensors"


def cwbass_names(dataset: str) -> list[str]:
    """The rows of CW-BASS's table: its teacher, and the student of every ablation."""
    return ["supervised", *kept("cwbass", "ablations", dataset)]


TABLES["cwbass"] = Table(
    title="CW-BASS (IJCNN 2025)",
    datasets=PARTITIONED,
    rows=lambda dataset: partition_rows("cwbass", cwbass_names(dataset), dataset),
    compared=lambda dataset: [["supervised", "cwbass"]],
    trainings=lambda dataset: partition_trainings("cwbass", cwbass_names(dataset), dataset),
    published=False,
    manifest=partition_manifest,
    exported=lambda dataset: f"{partition_of(dataset)}/cwbass/{{network}}/network.safetensors",
)


def cwbass_weights(wildcards) -> list[str]:
    """The published weights that CW-BASS's network starts from."""
    settings = section("cwbass", wildcards.dataset)
    return pretrained(settings["network"]["backbone"], settings["pretrained"])


def stored_by_teacher(file: str):
    """The teacher, its labels or its confidence: files that only the variant `paper` reads."""
    return lambda wildcards: [file] if section("cwbass", wildcards.dataset)["variant"] == "paper" else []


def cwbass_loss(wildcards) -> dict:
    """The loss of one of CW-BASS's ablations."""
    settings = section("cwbass", wildcards.dataset)
    return merged(settings["loss"], settings["ablations"][wildcards.ablation])


rule train_supervised:
    input:
        index=work("{dataset}/index.csv"),
        labelled=f"{PARTITION}/labelled.txt",
        unlabelled=f"{PARTITION}/unlabelled.txt",
        weights=cwbass_weights,
    output:
        checkpoint=CWBASS_TEACHER,
    log:
        logs("{dataset}/train_supervised/{protocol}_{part}"),
    benchmark:
        benchmarks("{dataset}/train_supervised/{protocol}_{part}")
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(32000),
        runtime=1440,
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("few_masks/train_supervised.py", "cwbass", architecture="DeepLabV3Plus"),
    script:
        "../workflow_scripts/few_masks/train_supervised.py"


rule cache_labels:
    input:
        index=work("{dataset}/index.csv"),
        ids=f"{PARTITION}/unlabelled.txt",
        checkpoint=CWBASS_TEACHER,
    output:
        label_maps=f"{CWBASS}/cache/labels/{{scatteritem}}.h5",
        confidence_maps=f"{CWBASS}/cache/confidence/{{scatteritem}}.h5",
    log:
        logs("{dataset}/cache_labels/{protocol}_{part}/{scatteritem}"),
    benchmark:
        benchmarks("{dataset}/cache_labels/{protocol}_{part}/{scatteritem}")
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("few_masks/cache_labels.py", "cwbass.labelling"),
    script:
        "../workflow_scripts/few_masks/cache_labels.py"


rule train_cwbass:
    input:
        index=work("{dataset}/index.csv"),
        labelled=f"{PARTITION}/labelled.txt",
        unlabelled=f"{PARTITION}/unlabelled.txt",
        teacher=stored_by_teacher(CWBASS_TEACHER),
        labels=stored_by_teacher(f"{CWBASS}/cache/labels.h5"),
        confidence=stored_by_teacher(f"{CWBASS}/cache/confidence.h5"),
        weights=cwbass_weights,
    output:
        checkpoint=f"{CWBASS}/{{ablation}}/network.safetensors",
    log:
        logs("{dataset}/train_cwbass/{protocol}_{part}_{ablation}"),
    benchmark:
        benchmarks("{dataset}/train_cwbass/{protocol}_{part}_{ablation}")
    wildcard_constraints:
        ablation="|".join(config["cwbass"]["ablations"]),
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(32000),
        runtime=1440,
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("few_masks/train_cwbass.py", "cwbass", loss=cwbass_loss),
    script:
        "../workflow_scripts/few_masks/train_cwbass.py"

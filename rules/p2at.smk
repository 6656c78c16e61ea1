"""P2AT: real-time segmentation of images with true masks; its speed, and networks for deployment."""

P2AT = work("{dataset}/p2at/{variant}")
P2AT_VARIANTS = [name for name, variant in config["p2at"]["variants"].items() if variant]
of_variant = setting_of("p2at", "variants", "variant")


def p2at_files(dataset: str, name: str) -> dict[str, str]:
    """A file of each variant that a data set's table has."""
    return {variant: work(f"{dataset}/p2at/{variant}/{name}") for variant in kept("p2at", "variants", dataset)}


TABLES["p2at"] = Table(
    title="P2AT (Elhassan et al., 2024)",
    datasets=["camvid", "cityscapes", "voc"],
    rows=lambda dataset: [Row(*item) for item in p2at_files(dataset, "val/argmax_scores.csv").items()],
    compared=lambda dataset: [["plain_decoder", "s", "m", "l"]],
    trainings=lambda dataset: list(p2at_files(dataset, "network.safetensors").values()),
    exported=lambda dataset: work(f"{dataset}/p2at/{{network}}/network.safetensors"),
)
MORE_TARGETS.append("results/p2at_voc_speed.csv")


def p2at_network(wildcards) -> dict:
    """What a variant's network is built with; the plain baseline has none of P2AT's switches."""
    variant = section("p2at", wildcards.dataset)["variants"][wildcards.variant]
    switches = section("p2at", wildcards.dataset)["network"] if variant["architecture"] == "P2AT" else {}
    return {"backbone": variant["backbone"], **switches}


def p2at_near_boundary(wildcards) -> float:
    """The weight of a variant's loss near boundaries, which a network without a boundary head does not have."""
    return section("p2at", wildcards.dataset)["variants"][wildcards.variant].get("near_boundary", 1.0)


def p2at_weights(wildcards) -> list[str]:
    """The published weights that a variant starts from; the paper's L has torchvision's second ones for ResNet-50."""
    backbone = of_variant("backbone")(wildcards)
    name = "resnet50_v2" if backbone == "resnet50" else backbone
    return pretrained(name, section("p2at", wildcards.dataset)["init"] == "imagenet")


def p2at_start(wildcards) -> list[str]:
    """The same variant trained on Cityscapes, where a data set's training starts from that."""
    if section("p2at", wildcards.dataset)["init"] != "cityscapes":
        return []
    return [work(f"cityscapes/p2at/{wildcards.variant}/network.safetensors")]


def all_cores() -> int:
    """This machine's cores, for a stage that measures time; on a cluster, as many as a training has."""
    return workflow.resource_settings.cores or config["resources"]["threads_train"]


rule train_p2at:
    input:
        index=work("{dataset}/index.csv"),
        ids=ids_of("train"),
        weights=p2at_weights,
        start=p2at_start,
    output:
        checkpoint=f"{P2AT}/network.safetensors",
    log:
        logs("{dataset}/train_p2at/{variant}"),
    benchmark:
        benchmarks("{dataset}/train_p2at/{variant}")
    wildcard_constraints:
        variant="|".join(P2AT_VARIANTS),
    conda:
        "../envs/maskmill.yaml"
    threads: config["resources"]["threads_train"]
    resources:
        mem_mb=growing(32000),
        runtime=1440,
        gpu=config["resources"]["gpu"],
    params:
        **settings_for(
            "p2at/train_p2at.py",
            "p2at",
            architecture=of_variant("architecture"),
            network=p2at_network,
            lr=of_variant("lr"),
            balance=of_variant("balance"),
            near_boundary=p2at_near_boundary,
        ),
    script:
        "../workflow_scripts/p2at/train_p2at.py"


rule predict_p2at:
    input:
        index=work("{dataset}/index.csv"),
        ids=ids_of("val"),
        checkpoint=f"{P2AT}/network.safetensors",
    output:
        maps=f"{P2AT}/val/argmax/{{scatteritem}}.h5",
    log:
        logs("{dataset}/predict_p2at/{variant}/{scatteritem}"),
    benchmark:
        benchmarks("{dataset}/predict_p2at/{variant}/{scatteritem}")
    wildcard_constraints:
        variant="|".join(P2AT_VARIANTS),
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=config["resources"]["gpu"],
    params:
        **settings_for("results/predict_labels.py"),
    script:
        "../workflow_scripts/results/predict_labels.py"


# The rule takes all cores, since another job on the same machine would change the times.
rule measure_speed:
    input:
        checkpoints=lambda wildcards: list(p2at_files(wildcards.dataset, "network.safetensors").values()),
    output:
        speed_table=report("results/p2at_{dataset}_speed.csv", **in_report("p2at", "speed", "speed")),
    log:
        logs("{dataset}/measure_speed"),
    benchmark:
        benchmarks("{dataset}/measure_speed")
    wildcard_constraints:
        dataset="|".join(TABLES["p2at"].datasets),
    conda:
        "../envs/maskmill.yaml"
    threads: all_cores()
    resources:
        mem_mb=growing(8000),
        runtime=growing(60),
        gpu=config["resources"]["gpu"],
    params:
        **settings_for(
            "p2at/measure_speed.py",
            "p2at.speed",
            method="p2at",
            variants=lambda wildcards: kept("p2at", "variants", wildcards.dataset),
        ),
    script:
        "../workflow_scripts/p2at/measure_speed.py"

"""Published weights, converted to safetensors once and shared by all scales."""

from maskmill.data.download import described
from maskmill.networks.weights import WEIGHTS


def source_of_weights(wildcards) -> str:
    """Address, place and checksum of published weights."""
    weights = WEIGHTS[wildcards.network]
    if weights.package:
        return f"Take {wildcards.network} from the package {weights.package}"
    converted = PUBLISHED_WEIGHTS.format(network=wildcards.network)
    return described([weights.url], weights.published(converted), weights.checksum)


# `source` is a resource, so that a dry run can print it and a change of it fetches nothing again.
rule prepare_weights:
    output:
        weights=PUBLISHED_WEIGHTS,
    log:
        "logs/downloads/prepare_weights_{network}.log",
    benchmark:
        "benchmarks/downloads/prepare_weights_{network}.tsv"
    wildcard_constraints:
        network="|".join(WEIGHTS),
    localrule: True
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
        source=source_of_weights,
    message:
        "{resources.source}"
    script:
        "../workflow_scripts/data/prepare_weights.py"

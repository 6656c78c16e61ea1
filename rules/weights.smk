"""Published weights, converted to safetensors once and shared by all scales."""


rule prepare_weights:
    output:
        weights=PUBLISHED_WEIGHTS,
    log:
        "logs/downloads/prepare_weights_{network}.log",
    benchmark:
        "benchmarks/downloads/prepare_weights_{network}.tsv"
    wildcard_constraints:
        network="|".join(PUBLISHED),
    localrule: True
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    script:
        "../workflow_scripts/data/prepare_weights.py"

"""Published weights, converted to safetensors once and shared by all scales."""


rule prepare_weights:
    output:
        weights=PUBLISHED_WEIGHTS,
    log:
        "logs/downloads/prepare_weights_{network}.log",
    benchmark:
        "benchmarks/downloads/prepare_weights_{network}.tsv"
    wildcard_constraints:
        network="resnet18|resnet34|resnet50|resnet50_v2|resnet101|wide_resnet50_2|mobilenet_v2|vgg16|inception_v3|efficientnet_lite0|dino_vitb8",
    localrule: True
    conda:
        "../envs/maskmill.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    script:
        "../workflow_scripts/data/prepare_weights.py"

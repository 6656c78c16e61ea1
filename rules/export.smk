"""Trained networks as ONNX models, everything folded, by one rule: a model has the name of its row in the method's table."""

for method, dataset in config["export"]["datasets"].items():

    rule:
        name:
            f"export_{method}"
        input:
            index=f"{WORK}/{dataset}/index.csv",
            ids=f"{WORK}/{dataset}/splits/{'train' if dataset == OWN else 'val'}.txt",  # own images need no val
            checkpoint=exported_checkpoint(method, dataset),
        output:
            model=f"models/{method}_{{network}}.onnx",
        log:
            f"logs/{SCALE}/export_{method}/{{network}}.log",
        benchmark:
            f"benchmarks/{SCALE}/export_{method}/{{network}}.tsv"
        conda:
            "../envs/maskmill.yaml"
        resources:
            mem_mb=growing(4000),
            runtime=growing(20),
        params:
            code=code("results/export_onnx.py"),
            dataset=dataset,
            images=config["export"]["images"],
            short_side=config["data"][dataset]["short_side"],
        script:
            "../workflow_scripts/results/export_onnx.py"

"""Trained networks as ONNX models, everything folded; a model has the name of its row in the method's table."""

for method, dataset in config["export"]["datasets"].items():
    if dataset not in TABLES[method].datasets:
        known = ", ".join(TABLES[method].datasets)
        raise WorkflowError(f"config: export.datasets.{method} {dataset!r} is not one of {known}; correct it")

    rule:
        name:
            f"export_{method}"
        input:
            index=work(f"{dataset}/index.csv"),
            ids=work(f"{dataset}/splits/{'train' if dataset == OWN else 'val'}.txt"),  # own images need no val
            checkpoint=TABLES[method].exported(dataset),
        output:
            model=f"models/{method}_{{network}}.onnx",
        log:
            logs(f"export_{method}/{{network}}"),
        benchmark:
            benchmarks(f"export_{method}/{{network}}")
        conda:
            "../envs/maskmill.yaml"
        resources:
            mem_mb=growing(4000),
            runtime=growing(20),
        params:
            **settings_for(
                "results/export_onnx.py",
                dataset=dataset,
                images=config["export"]["images"],
                short_side=config["data"][dataset]["short_side"],
            ),
        script:
            "../workflow_scripts/results/export_onnx.py"

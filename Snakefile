from snakemake.utils import min_version

min_version("9.27")


report: "report/maskmill.rst"


include: "rules/common.smk"


scattergather:
    images=config["shards"],


include: "rules/data.smk"
include: "rules/weights.smk"
include: "rules/tags.smk"
include: "rules/mars.smk"
include: "rules/bas.smk"
include: "rules/boxes.smk"
include: "rules/deeplab.smk"
include: "rules/few_masks.smk"
include: "rules/cwbass.smk"
include: "rules/mgd.smk"
include: "rules/p2at.smk"
include: "rules/barm.smk"
include: "rules/pairs.smk"
include: "rules/open_vocabulary.smk"
include: "rules/mixreorg.smk"
include: "rules/zeroseg.smk"
include: "rules/stores.smk"
include: "rules/export.smk"
include: "rules/results.smk"
include: "rules/figures.smk"


rule all:
    default_target: True
    input:
        all_targets(),
        "results/costs.csv",

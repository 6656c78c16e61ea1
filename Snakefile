from snakemake.utils import min_version

min_version("9.27")


report: "report/maskmill.rst"


include: "rules/common.smk"


scattergather:
    images=config["shards"],


include: "rules/data.smk"
include: "rules/pairs.smk"
include: "rules/weights.smk"
include: "rules/classifier.smk"
include: "rules/irn.smk"
include: "rules/bas.smk"
include: "rules/features.smk"
include: "rules/mars.smk"
include: "rules/student.smk"
include: "rules/prediction.smk"
include: "rules/deeplab.smk"
include: "rules/partitions.smk"
include: "rules/cwbass.smk"
include: "rules/mgd.smk"
include: "rules/localization.smk"
include: "rules/p2at.smk"
include: "rules/export.smk"
include: "rules/barm.smk"
include: "rules/mixreorg.smk"
include: "rules/zeroseg.smk"
include: "rules/results.smk"
include: "rules/figures.smk"


rule all:
    default_target: True
    input:
        expand("results/{target}.csv", target=[*TARGETS, "costs"]),

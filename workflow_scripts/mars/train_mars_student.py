"""Train MARS's student: its teacher fills in the biased pixels, weighted by certainty or not (MARS, Eq. 6-7).

In: index, id list, debiased labels (254 = biased), optionally what the backbone starts from. Out: a checkpoint of
`DeepLabV3Plus`. The variant `complement` uses Eq. 6 alone, `mars` Eq. 6 and 7.
"""

import torch

from maskmill.data.catalog import find_dataset
from maskmill.data.index import read_ids, read_index
from maskmill.methods.mars import BIASED, certainty_weight, complement, teacher_labels, weighted_cross_entropy
from maskmill.refinement.online import make_refine
from maskmill.storage.maps import open_maps
from maskmill.training.student import train_student
from maskmill.workflow import stage


def main(
    dataset: str,
    index: str,
    ids: str,
    labels: str,
    checkpoint: str,
    variant: str,
    student: dict,
    refine: str,
    crf: dict,
    label_space: str,
    normalise: str,
    training: dict,
    max_iterations: int | None = None,
    seed: int = 0,
    short_side: int | None = None,
    weights: list[str] = (),
    classifier: list[str] = (),
    run: str = "by hand",
) -> None:
    records = read_index(index)

    def make_step(teacher):
        mean, std = teacher.backbone.mean, teacher.backbone.std
        refined = make_refine(refine, crf, mean, std, workers=training["workers"])

        def step(model, batch):
            image, debiased, tags = batch["image"], batch["label"], batch["tags"]
            with torch.no_grad():
                probabilities = teacher(image).float().softmax(dim=1)
                biased = (debiased == BIASED).flatten(1).any(dim=1)
                labels_te = teacher_labels(refined(probabilities, image, tags, biased), tags, label_space=label_space)
                completed = complement(debiased, labels_te)
                weight = certainty_weight(probabilities, debiased, tags)
            if variant == "complement":
                weight = torch.ones_like(weight)
            return {"weighted": weighted_cross_entropy(model(image), completed, weight, normalise=normalise)}

        return step

    train_student(
        make_step,
        [records[i] for i in read_ids(ids)],
        open_maps(labels),
        checkpoint,
        num_classes=find_dataset(dataset, index).num_classes,
        pretrained=next(iter(weights), None),
        classifier=next(iter(classifier), None),
        training=training,
        max_iterations=max_iterations,
        seed=seed,
        short_side=short_side,
        run=run,
        **student,
    )


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

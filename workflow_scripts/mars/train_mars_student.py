"""Train MARS's student: its teacher fills in the biased pixels (MARS, Eq. 6), weighted by certainty (Eq. 7) or not.

In: index, id list, debiased labels (254 = biased), optionally what the backbone starts from. Out: a checkpoint of
`DeepLabV3Plus`.
"""

import torch

from maskmill.data.catalog import find_dataset
from maskmill.data.index import read_ids, read_index
from maskmill.methods.mars import BIASED, certainty_weight, complement, teacher_labels, weighted_cross_entropy
from maskmill.refinement.online import make_refine
from maskmill.storage.maps import open_maps
from maskmill.training.run import TrainingRun
from maskmill.training.student import Student, train_student
from maskmill.workflow import stage


def main(
    dataset: str,
    index: str,
    ids: str,
    labels: str,
    variant: str,
    student: Student,
    refine: str,
    crf: dict,
    label_space: str,
    normalise: str,
    run: TrainingRun,
    short_side: int | None = None,
    weights: list[str] = (),
    classifier: list[str] = (),
) -> None:
    """Train MARS's student.

    Args:
        labels: map store of debiased labels.
        variant: mars, or complement: certainty does not weigh the loss.
        refine: what refines the teacher's probabilities: crf, pamr or none.
        label_space: which classes the teacher's labels may have: image (the image's tags and background) or all.
        normalise: what the weighted loss is divided by: valid, sum or weight.
    """
    indexed = read_index(index)

    def make_step(teacher):
        mean, std = teacher.backbone.mean, teacher.backbone.std
        refined = make_refine(refine, crf, mean, std, workers=run.workers)

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
        [indexed[image_id] for image_id in read_ids(ids)],
        open_maps(labels),
        find_dataset(dataset, index).num_classes,
        student,
        run,
        weights=weights,
        classifier=classifier,
        short_side=short_side,
    )


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

"""Train the plain student on a provider's pseudo labels: the baseline of a method, with the method's own budget.

In: index, id list, labels, optionally what the backbone starts from. Out: a checkpoint of `DeepLabV3Plus`.
"""

from maskmill.data.catalog import find_dataset
from maskmill.data.index import read_ids, read_index
from maskmill.storage.maps import open_maps
from maskmill.training.run import TrainingRun
from maskmill.training.student import Student, cross_entropy_step, train_student
from maskmill.workflow import stage


def main(
    dataset: str,
    index: str,
    ids: str,
    labels: str,
    student: Student,
    run: TrainingRun,
    short_side: int | None = None,
    weights: list[str] = (),
    classifier: list[str] = (),
) -> None:
    """Train the plain student.

    Args:
        labels: map store of pseudo labels.
    """
    indexed = read_index(index)
    train_student(
        cross_entropy_step,
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

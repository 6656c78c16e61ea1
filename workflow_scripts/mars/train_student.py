"""Train the plain student on a provider's pseudo labels: the baseline, with the method's own budget.

In: index, id list, labels, optionally what the backbone starts from. Out: a checkpoint of `DeepLabV3Plus`.
"""

from maskmill.data.catalog import find_dataset
from maskmill.data.index import read_ids, read_index
from maskmill.storage.maps import open_maps
from maskmill.training.student import cross_entropy_step, train_student
from maskmill.workflow import stage


def main(
    dataset: str,
    index: str,
    ids: str,
    labels: str,
    checkpoint: str,
    student: dict,
    training: dict,
    max_iterations: int | None = None,
    seed: int = 0,
    short_side: int | None = None,
    weights: list[str] = (),
    classifier: list[str] = (),
    run: str = "by hand",
) -> None:
    records = read_index(index)
    train_student(
        cross_entropy_step,
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

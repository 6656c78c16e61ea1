"""Train IRN's multi-label classifier on image tags.

In: index, id list, optionally the backbone's weights. Out: a checkpoint of `Classifier`.
"""

import torch
from torch.nn import functional as F

from maskmill.data.catalog import find_dataset
from maskmill.data.datasets import check_tags
from maskmill.data.index import read_ids, read_index
from maskmill.networks.classifier import Classifier
from maskmill.training.run import TrainingRun, training_images
from maskmill.workflow import stage


def main(
    dataset: str,
    index: str,
    ids: str,
    network: dict,
    augmentation: dict,
    lr_backbone: float,
    lr_head: float,
    weight_decay: float,
    run: TrainingRun,
    short_side: int | None = None,
    weights: list[str] = (),
) -> None:
    """Train the classifier.

    Args:
        lr_backbone, lr_head: learning rates of the backbone and of the classifier on it at the first iteration.
    """
    about = find_dataset(dataset, index)
    num_classes = about.num_classes
    indexed = read_index(index)
    records = [indexed[image_id] for image_id in read_ids(ids)]
    check_tags(records, about.classes, "complete the table data.mine.tags, or remove the image")
    torch.manual_seed(run.seed)
    model = Classifier(num_classes=num_classes - 1, pretrained=next(iter(weights), None), **network)
    images = training_images(records, augmentation, model.backbone, num_classes=num_classes, short_side=short_side)

    def step(model, batch):
        return {"tags": F.multilabel_soft_margin_loss(model(batch["image"]), batch["tags"].float())}

    groups = [
        {"params": model.backbone.parameters(), "lr": lr_backbone, "weight_decay": weight_decay},
        {"params": model.classifier.parameters(), "lr": lr_head, "weight_decay": weight_decay},
    ]
    run.train(model, step, groups, images)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

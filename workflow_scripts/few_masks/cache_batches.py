"""Store MGD's teacher outputs for a student's batches, so that students read them instead of running the teachers.

In: index, both id lists, both teachers. Out: map stores with one map per batch:

- `wide_labels` and `deep_labels`, uint8 [B, 2, crop, crop]: the teachers' labels of the labelled and of the mixed
  crops, 255 where pixels do not count;
- `relation`, float32 [B, 49, 49]: relation of the wide teacher's features of the mixed crops;
- `pooled`, float32 [B, K]: the deep teacher's pooled logits of the mixed crops.

The batches are those that a student with this seed, batch size and augmentation draws. Attributes of a map name the
images that its batch was drawn from, x_l and x_0.
"""

import torch

from maskmill.data.catalog import find_dataset
from maskmill.data.index import read_index, shard
from maskmill.data.semi_supervised import MGDImages, crops_of, mgd_images
from maskmill.methods.mgd import freeze_teacher, stored_arrays, teacher_outputs
from maskmill.networks.deeplab_mgd import DeepLabV3PlusMGD
from maskmill.networks.device import inference_device
from maskmill.progress import progress
from maskmill.storage.caches import batch_name, batch_parameters, create_batches
from maskmill.storage.checkpoints import load_network
from maskmill.training.loop import draw_batches, indices_of
from maskmill.training.schedules import iterations_of
from maskmill.workflow import stage


@torch.inference_mode()
def main(
    dataset: str,
    index: str,
    labelled: str,
    unlabelled: str,
    wide: str,
    deep: str,
    wide_labels: str,
    relation: str,
    deep_labels: str,
    pooled: str,
    augmentation: dict,
    cutmix: dict,
    pairing: str,
    teacher_batchnorm: str,
    padding_counts: bool,
    min_confidence: float,
    epochs: float,
    batch_size: int,
    accelerator: str = "auto",
    workers: int = 0,
    max_iterations: int | None = None,
    seed: int = 0,
    scatteritem: str = "1-of-1",
    short_side: int | None = None,
) -> None:
    """Store the teachers' outputs for one shard of the batches.

    Args:
        labelled, unlabelled: text files with the ids of the images that have masks, and of those that have none.
        wide, deep: checkpoints of the teachers.
        wide_labels, relation, deep_labels, pooled: map stores to write, see above.
        cutmix: keyword arguments of `cutmix_masks`.
        pairing: same or independent: whether CutMix mixes two crops of one image, or two images.
        teacher_batchnorm: train or eval: whether teachers normalise by each batch or by learned statistics.
        padding_counts: whether padded pixels count in the losses.
        min_confidence: probability below which a teacher's label does not count.
        epochs: passes over the longer list whose batches are stored.
        batch_size: labelled images per batch, and as many unlabelled ones.
        accelerator: auto, cpu or gpu.
        workers: processes that load images.
        max_iterations: cap on the number of batches, for tests; null: none.
        seed: seed of the order of images and of all crops.
        scatteritem: shard of the batches, as `2-of-8`.
    """
    indexed, num_classes = read_index(index), find_dataset(dataset, index).num_classes
    device = inference_device(accelerator)  # that of the students
    networks = [load_network(path, DeepLabV3PlusMGD) for path in (wide, deep)]
    teachers = [freeze_teacher(network, batchnorm=teacher_batchnorm).to(device) for network in networks]
    mean, std = teachers[0].backbone.mean, teachers[0].backbone.std
    crops = {"augmentation": augmentation, "cutmix": cutmix, "pairing": pairing, "short_side": short_side}
    images = mgd_images(indexed, labelled, unlabelled, num_classes, mean, std, **crops)
    iterations = shard(range(iterations_of(epochs, len(images), batch_size, max_iterations)), scatteritem)
    batches = draw_batches(images, batch_size, seed, iterations, workers=workers)
    parameters = batch_parameters(
        **crops,
        teacher_batchnorm=teacher_batchnorm,
        padding_counts=padding_counts,
        min_confidence=min_confidence,
        seed=seed,
        batch_size=batch_size,
    )
    paths = {"wide_labels": wide_labels, "relation": relation, "deep_labels": deep_labels, "pooled": pooled}
    with create_batches(paths, {"wide": wide, "deep": deep}, (labelled, unlabelled), parameters) as stores:
        shown = progress(zip(iterations, batches, strict=True), f"batches {scatteritem}", "batch", len(iterations))
        for iteration, batch in shown:
            batch = {name: tensor.to(device) for name, tensor in batch.items()}
            views = crops_of(batch, padding_counts)
            outputs = [teacher_outputs(teacher, *views, min_confidence=min_confidence) for teacher in teachers]
            attributes = image_names(images, indices_of(images, batch_size, seed, iteration))
            for name, array in stored_arrays(*outputs).items():
                stores[name].write(batch_name(iteration), array.cpu().numpy(), **attributes)


def image_names(images: MGDImages, indices: list[tuple[int, int]]) -> dict[str, list[str]]:
    """Ids of the images x_l and x_0 that a batch was drawn from."""
    return {
        "labelled": [images.labelled[i].image_id for i, _ in indices],
        "unlabelled": [images.unlabelled[i].image_id for _, i in indices],
    }


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

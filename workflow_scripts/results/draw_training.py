"""One picture of the losses of a target's trainings.

In: checkpoints; the TensorBoard log of each training lies beside its checkpoint. Out: PNG, an axis a training.
"""

import logging

from maskmill.reporting.curves import draw_losses, read_losses, short_names
from maskmill.workflow import stage


def main(checkpoints: list[str], picture: str, method: str, dataset: str, scale: str) -> None:
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it tells of every training that was started again
    folder, names = short_names(checkpoints)
    losses = [read_losses(checkpoint) for checkpoint in checkpoints]
    title = f"{method} on {dataset}, scale {scale}: losses of the trainings in {folder}"
    draw_losses(dict(zip(names, losses, strict=True)), picture, title)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

"""Draw the losses of a target's trainings.

In: checkpoints.
Out: a picture with an axis per training.
"""

import logging

from maskmill.reporting.curves import draw_losses, read_losses, short_names
from maskmill.workflow import stage


def main(checkpoints: list[str], picture: str, method: str, dataset: str, scale: str) -> None:
    """Draw the picture.

    Args:
        checkpoints: safetensors files of trained networks; the TensorBoard log of each training lies beside its
            checkpoint.
        dataset: name of the data set, for the title.
    """
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it warns about every training that was resumed
    folder, names = short_names(checkpoints)
    losses = [read_losses(checkpoint) for checkpoint in checkpoints]
    title = f"{method} on {dataset}, scale {scale}: losses of the trainings in {folder}"
    draw_losses(dict(zip(names, losses, strict=True)), picture, title)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

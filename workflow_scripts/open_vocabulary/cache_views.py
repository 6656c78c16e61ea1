"""Encode views of every image with ZeroSeg's teacher: the whole image, and the cells of grids over it.

In: shard, weights of the teacher.
Out: features of the views.
Source: ZeroSeg (ICCV 2023). Views are cut from the centre square of the image at its own size.
"""

import numpy as np
import torch

from maskmill.data.shards import Shards, index_path
from maskmill.data.transforms import network_input
from maskmill.data.views import centre_square
from maskmill.methods.zeroseg import view_boxes
from maskmill.networks.clip import load_teacher
from maskmill.networks.device import inference_device
from maskmill.storage.features import write_features
from maskmill.workflow import stage


@torch.inference_mode()
def main(shard: str, weights: str, features: str, teacher: str, grids: list[int]) -> None:
    """Encode the views of one shard's images.

    Args:
        shard: webdataset tar file of images; its index lies beside it.
        weights: file with the weights of the teacher.
        features: HDF5 file to write: per image float16 [views, dimensions], not normalised.
        teacher: tiny, or the name of a model of open_clip.
        grids: cells per side of each grid; 1 is the whole image.
    """
    images, device = Shards([shard]), inference_device()
    model = load_teacher(teacher, weights).to(device)
    size = (model.image_size, model.image_size)

    def views(position: int) -> torch.Tensor:
        image = centre_square(images[position][1])
        boxes = view_boxes(len(image), grids)
        cells = [image[top:bottom, left:right] for top, left, bottom, right in boxes]
        return torch.cat([network_input(cell, model.mean, model.std, size) for cell in cells])

    def compute(positions: range) -> np.ndarray:
        vectors = [model.encode_image(views(position).to(device)) for position in positions]
        return torch.stack(vectors).half().cpu().numpy()

    write_features(
        features,
        [sample[0] for sample in images.samples[0]],
        compute,
        (sum(count**2 for count in grids), model.dim),
        producer="cache_views",
        parameters={
            "teacher": teacher,
            "grids": list(grids),
            "crop": "centre square of the original",
            "interpolation": "bicubic",
            "size": model.image_size,
            "mean": list(model.mean),
            "std": list(model.std),
        },
        inputs=[index_path(shard), weights],
    )


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

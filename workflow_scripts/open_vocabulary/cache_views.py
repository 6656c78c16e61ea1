"""What the teacher sees in one shard's images: the whole of each, and the cells of grids over it (spec 3.2).

In: shard with its index, weights of the teacher. Out: feature store, float16 [images, views, dimensions], not
normalised. Views are cut from the centre square of the image as it is, and each is resized to the teacher's input.
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

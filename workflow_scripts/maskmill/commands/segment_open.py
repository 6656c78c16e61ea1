"""Segment a folder of images by any list of classes (spec open_vocabulary 1.8).

By hand: python workflow_scripts/segment_open.py --checkpoint network.safetensors --source photos --output segmented \\
    --classes "[cat, dog, traffic light]" --threshold 0.9
`classes`: names, or a text file with one a line. `threshold` of the background in 0..1; null: every pixel gets a class.
`teacher`, `teacher-weights`: for a checkpoint of `ZeroSeg`, the model it learned from (tiny, or open_clip's name).
`templates`: prompts, with {} in the name's place. `side`, `window`, `stride`: pixels, as the images are seen; default:
448, 448, 224 as published. `opacity` of the classes in the overlays, 0..1.
Out: masks/<image>.png (0 background, then the classes in their order), overlays/<image>.png (<image> keeps its suffix
where a.jpg lies beside a.png), segments.csv (every segment's pixels and affinity with every class), thresholds.csv
(share of foreground pixels at every threshold) and classes.csv. Images that cannot be read are skipped, with a warning,
and counted.
"""

import logging
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from maskmill.data.catalog import voc_palette
from maskmill.data.images import image_files, output_names, readable
from maskmill.data.voc import write_mask
from maskmill.errors import InputError
from maskmill.methods.zero_shot import class_vectors, pixel_segments, segment_affinity, zero_shot_logits
from maskmill.networks.device import inference_device
from maskmill.networks.open_vocabulary import image_logits, load_open_vocabulary, load_texts, resized_input
from maskmill.progress import progress
from maskmill.storage.atomic import atomic_path
from maskmill.workflow import stage

THRESHOLDS = np.arange(0.05, 1.0, 0.05)


@torch.inference_mode()
def main(
    checkpoint: str,
    source: str,
    output: str,
    classes: list[str] | str,
    threshold: float | None = None,
    templates: list[str] = ("a photo of a {}.",),
    side: int = 448,
    window: int = 448,
    stride: int = 224,
    opacity: float = 0.5,
    teacher: str | None = None,
    teacher_weights: str | None = None,
) -> None:
    names, device, folder = class_names(classes), inference_device(), Path(output)
    network = load_open_vocabulary(checkpoint).to(device)
    texts = load_texts(teacher_weights or checkpoint, teacher).to(device)
    if texts.dim != network.dim:
        raise InputError(
            f"{teacher_weights}: gives vectors of {texts.dim} numbers, but {checkpoint} learned from a teacher of "
            f"{network.dim}; name that teacher"
        )
    vectors = class_vectors(lambda prompts: texts.text_features(texts.tokenizer(prompts).to(device)), names, templates)
    files, rows, foreground = image_files(source), [], []
    outputs = output_names(files)

    of_window = partial(
        zero_shot_logits,
        describe=network.describe,
        patch_size=network.patch_size,
        classes=vectors,
        scale=texts.scale,
        thresholds=[*([] if threshold is None else [threshold]), *THRESHOLDS],
    )
    for file, image in readable(progress(files, Path(source).name)):
        size, pixels = image.shape[:2], resized_input(image, network, side).to(device)
        logits = image_logits(of_window, pixels, size, window, stride)
        backgrounds, likeliest, labels = logits[: -len(names)], *logits[-len(names) :].max(dim=0)
        labels = labels + 1
        if threshold is not None:
            labels[backgrounds[0] > likeliest] = 0
        write(folder, outputs[file], image, labels.byte().cpu().numpy(), opacity)
        foreground.append((backgrounds[-len(THRESHOLDS) :] <= likeliest).float().mean(dim=(1, 2)).cpu().numpy())
        rows += segment_rows(network, pixels, vectors, texts.scale, names, file.name)
    save(folder / "segments.csv", pd.DataFrame(rows))
    shares = 100 * np.mean(foreground, axis=0) if foreground else np.full(len(THRESHOLDS), np.nan)
    save(folder / "thresholds.csv", pd.DataFrame({"threshold": THRESHOLDS, "foreground": shares}))
    save(folder / "classes.csv", pd.DataFrame({"id": range(len(names) + 1), "name": ["background", *names]}))
    logging.info("%s: %d images, %d skipped as unreadable", output, len(foreground), len(files) - len(foreground))


def class_names(classes: list[str] | str) -> list[str]:
    """The names of classes, of a list or of a text file.

    Raises:
        InputError: the file is missing; there are no names, or more than 254, or one comes twice.
    """
    if isinstance(classes, str):
        if not Path(classes).is_file():
            raise InputError(f"{classes}: no such list of classes; give [name, name] or a text file with one a line")
        classes = Path(classes).read_text(encoding="utf-8").splitlines()
    names = [str(name).strip() for name in classes if str(name).strip()]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError(f"--classes: {twice!r} comes twice; remove one")
    if not 1 <= len(names) <= 254:
        raise InputError(f"--classes: {len(names)} names; give 1 to 254")
    return names


def segment_rows(
    network: torch.nn.Module,
    pixels: torch.Tensor,
    vectors: torch.Tensor,
    scale: torch.Tensor,
    names: list[str],
    image: str,
) -> list[dict]:
    """One row a segment of the whole image: its share of the pixels, and its affinity with every class."""
    grid = pixels.shape[2] // network.patch_size, pixels.shape[3] // network.patch_size
    size = grid[0] * network.patch_size, grid[1] * network.patch_size  # whole patches
    (shares,), (segments,), (whole,) = network.describe(F.interpolate(pixels, size, mode="bilinear"))
    affinity = segment_affinity(segments, whole, vectors, scale)
    pixels_of = pixel_segments(shares, grid, size).flatten().bincount(minlength=len(segments)) / (size[0] * size[1])
    return [
        {"image": image, "segment": number, "pixels": share.item(), **dict(zip(names, of.tolist(), strict=True))}
        for number, (share, of) in enumerate(zip(pixels_of, affinity, strict=True))
    ]


def write(folder: Path, name: str, image: np.ndarray, labels: np.ndarray, opacity: float) -> None:
    """The mask of an image, and the image with its classes laid over it."""
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    write_mask(folder / f"masks/{name}.png", labels)
    painted = cv2.addWeighted(image, 1 - opacity, voc_palette()[labels], opacity, 0)
    painted[labels == 0] = image[labels == 0]
    with atomic_path(folder / f"overlays/{name}.png") as path:
        path.write_bytes(cv2.imencode(".png", painted[..., ::-1])[1].tobytes())


def save(path: Path, table: pd.DataFrame) -> None:
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.4f")


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

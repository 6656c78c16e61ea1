"""Segment a folder of images by any list of class names with a trained GroupViT, MixReorg or ZeroSeg.

By hand: maskmill segment-open network.safetensors photos segmented --classes cat dog "traffic light" --threshold 0.9
In: `checkpoint`, a network of the workflow or of `maskmill import-group-vit`; `source`, a folder of images.
Out: `output`, a folder with
    masks/<image>.png      class ids: 0 background, then the classes in their order
    overlays/<image>.png   the image with the colours of the classes laid over it
    segments.csv           size of every segment (share of the pixels), and its affinity with every class
    thresholds.csv         share of foreground pixels, in percent, at each of several thresholds
    classes.csv            id and name of every class
<image> is the file's name without suffix; it keeps the suffix where a.jpg and a.png lie side by side. Images that
cannot be read are skipped and counted. Classes are assigned to segments as in GroupViT's released code.
"""

import logging
import unicodedata
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image

from maskmill.data.catalog import voc_palette
from maskmill.data.images import image_files, output_names, readable
from maskmill.data.voc import write_mask
from maskmill.errors import InputError
from maskmill.methods.zero_shot import class_vectors, pixel_segments, segment_affinity, zero_shot_logits
from maskmill.networks.device import inference_device
from maskmill.networks.open_vocabulary import (
    check_prompts,
    image_logits,
    load_open_vocabulary,
    load_texts,
    resized_input,
)
from maskmill.progress import progress
from maskmill.reporting.overlay import painted
from maskmill.storage.atomic import atomic_path

THRESHOLDS = np.arange(0.05, 1.0, 0.05)


@torch.inference_mode()
def main(
    checkpoint: str,
    source: str,
    output: str,
    classes: list[str],
    threshold: float | None = None,
    templates: list[str] = ("a photo of a {}.",),  # type: ignore[assignment]
    side: int = 448,
    window: int = 448,
    stride: int = 224,
    opacity: float = 0.5,
    teacher: str | None = None,
    teacher_weights: str | None = None,
) -> None:
    """Segment every image of a folder.

    Args:
        checkpoint: safetensors file of the network
        source: folder of images
        output: folder that is written
        classes: names of the classes, or one text file with a name per line
        threshold: affinity, 0 to 1, below which a pixel is background; default: every pixel gets a class
        templates: prompts, with {} in the place of the name; a class's vector is their mean. A network that was trained
            on the sample scenes never read "photo": give "a {}"
        side: pixels that the short side of an image is resized to
        window: side of the sliding window in pixels
        stride: step of the sliding window in pixels
        opacity: of the colours in the overlays, 0 (invisible) to 1
        teacher: for a checkpoint of ZeroSeg, the model that it learned from: tiny, or a name of open_clip
        teacher_weights: safetensors file of that model
    """
    names, device, folder = class_names(classes), inference_device(), Path(output)
    for option, value in (("threshold", threshold), ("opacity", opacity)):
        if value is not None and not 0 <= value <= 1:
            raise InputError(f"--{option}: {value} lies outside 0..1; correct it")
    if not 0 < stride <= window:
        raise InputError(f"--stride: {stride} pixels, windows have {window}; give a number from 1 to that")
    network = load_open_vocabulary(checkpoint).to(device)
    if window % network.patch_size:
        raise InputError(f"--window: {window} pixels are not whole patches of {network.patch_size}; give a multiple")
    if side < network.patch_size:
        raise InputError(f"--side: {side} pixels, but a patch of the network has {network.patch_size}; give more")
    texts = load_texts(teacher_weights or checkpoint, teacher).to(device)
    if texts.dim != network.dim:
        raise InputError(
            f"{teacher_weights}: gives vectors of {texts.dim} numbers, but {checkpoint} learned from a teacher of "
            f"{network.dim}; name that teacher"
        )
    check_prompts(texts.tokenizer, names, templates)
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
    if not foreground:
        raise InputError(f"{source}: none of its {len(files)} images can be read; replace them")
    save(folder / "segments.csv", pd.DataFrame(rows))
    shares = 100 * np.mean(foreground, axis=0)
    save(folder / "thresholds.csv", pd.DataFrame({"threshold": THRESHOLDS, "foreground": shares}))
    save(folder / "classes.csv", pd.DataFrame({"id": range(len(names) + 1), "name": ["background", *names]}))
    logging.info("%s: %d images, %d skipped as unreadable", output, len(foreground), len(files) - len(foreground))


def class_names(classes: Sequence[str] | str) -> list[str]:
    """The names of classes, given one by one or in one text file.

    Raises:
        InputError: the file is missing or not UTF-8; there are no names, or more than 254, or one comes twice.
    """
    classes = [classes] if isinstance(classes, str) else list(classes)
    if len(classes) == 1 and (classes[0].endswith(".txt") or Path(classes[0]).is_file()):
        if not Path(classes[0]).is_file():
            raise InputError(f"{classes[0]}: no such list of classes; give names, or a text file with one per line")
        try:
            classes = Path(classes[0]).read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            raise InputError(f"{classes[0]}: not a text in UTF-8; save it as one") from None
    texts = (unicodedata.normalize("NFC", str(name)).strip().strip("\ufeff").strip() for name in classes)
    names = [name for name in texts if name]
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
    """One row per segment of the whole image: its share of the pixels, and its affinity with every class."""
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
    """Write the mask of an image, uint8 [H, W], and the image with its classes laid over it."""
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    write_mask(folder / f"masks/{name}.png", labels)
    with atomic_path(folder / f"overlays/{name}.png") as path:
        Image.fromarray(painted(image, labels, voc_palette(), opacity, background=True)).save(path, format="PNG")


def save(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, numbers with 4 decimals; bytes of a name that are no UTF-8 as \\udc80 and the like."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.4f", errors="backslashreplace")

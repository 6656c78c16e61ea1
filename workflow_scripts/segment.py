"""Segment a video or a folder of images with an exported network and write the pictures with the classes laid over.

By hand: python workflow_scripts/segment.py --model models/p2at_s.onnx --source clip.mp4 --output overlays.mp4
A folder gives a folder of PNG files. Frames and files that cannot be read are skipped, with a warning, and counted.
`short_side`: pixels that larger pictures are shrunk to for the network; default: as it was trained. `opacity`: of the
classes, 0..1. `threads`: of the CPU; 0: all.
"""

import itertools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import stage
from maskmill.data.images import image_files, readable
from maskmill.errors import InputError
from maskmill.progress import progress
from maskmill.storage.atomic import atomic_path
from maskmill.storage.onnx_models import OnnxModel

logger = logging.getLogger(__name__)

Overlay = Callable[[np.ndarray], np.ndarray]  # an image to it with the classes laid over


def main(
    model: str, source: str, output: str, short_side: int | None = None, opacity: float = 0.5, threads: int = 0
) -> None:
    network = OnnxModel(model, threads)
    colours = np.array(network.colours, np.uint8)

    def overlay(image: np.ndarray) -> np.ndarray:
        painted = colours[network.labels(image, short_side)]
        return cv2.addWeighted(image, 1 - opacity, painted, opacity, 0)

    if not Path(source).exists():
        raise InputError(f"{source}: no such video or folder of images; correct --source")
    segment = segment_folder if Path(source).is_dir() else segment_video
    written, skipped = segment(Path(source), Path(output), overlay)
    logger.info("%s: %d pictures, %d skipped as unreadable", output, written, skipped)


def segment_folder(source: Path, output: Path, overlay: Overlay) -> tuple[int, int]:
    """Numbers of images written and skipped."""
    files, written = image_files(source), 0
    for file, image in readable(progress(files, source.name)):
        with atomic_path(output / f"{file.stem}.png") as temporary:
            Image.fromarray(overlay(image)).save(temporary, format="PNG")
        written += 1
    return written, len(files) - written


def segment_video(source: Path, output: Path, overlay: Overlay) -> tuple[int, int]:
    """Numbers of frames written and skipped."""
    if output.suffix != ".mp4":
        raise InputError(f"{output}: videos are written as MP4; name it .mp4")
    video = cv2.VideoCapture(str(source))
    rate, total = video.get(cv2.CAP_PROP_FPS) or 25.0, int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    written = skipped = 0
    with atomic_path(output) as temporary:
        named, writer = temporary.with_suffix(".mp4"), None  # OpenCV tells the format by the name's end
        for frame in progress(frames(video, total), source.name, unit="frame", total=max(total, 0)):
            if frame is None:
                skipped += 1
                continue
            writer = writer or cv2.VideoWriter(str(named), cv2.VideoWriter.fourcc(*"mp4v"), rate, frame.shape[1::-1])
            writer.write(overlay(frame)[..., ::-1])
            written += 1
        if not written:
            raise InputError(f"{source}: no frame of it can be read; convert it, or give a folder of images")
        writer.release()
        named.replace(temporary)
    if skipped:
        logger.warning("skipped: %s: %d of %d frames cannot be read", source, skipped, total)
    return written, skipped


def frames(video: cv2.VideoCapture, total: int) -> Iterator[np.ndarray | None]:
    """Frames as RGB uint8 [H, W, 3], and a None for each of the `total` announced ones that cannot be read."""
    for number in itertools.count():
        read, frame = video.read()
        if read:
            yield np.ascontiguousarray(frame[..., ::-1])
        elif number < total:
            yield None
        else:
            return


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

"""Segment a video or a folder of images with an exported network and write the pictures with the classes laid over.

By hand: python workflow_scripts/segment.py --model models/p2at_s.onnx --source clip.mp4 --output overlays.mp4
A folder gives a folder of PNG files. Frames and files that cannot be read are skipped, with a warning, and counted.
`short_side`: pixels that larger pictures are shrunk to for the network; default: as it was trained. `opacity`: of the
classes, 0..1. `threads`: of the CPU; 0: all.
"""

import itertools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from maskmill.data.images import image_files, output_names, readable
from maskmill.errors import InputError
from maskmill.progress import progress
from maskmill.storage.atomic import atomic_path
from maskmill.storage.onnx_models import OnnxModel
from maskmill.workflow import stage

logger = logging.getLogger(__name__)

PATIENCE = 50  # unreadable frames in a row

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
    if Path(output).resolve() == Path(source).resolve():
        raise InputError(f"{output}: overlays would replace the originals; give another --output")
    segment = segment_folder if Path(source).is_dir() else segment_video
    written, skipped = segment(Path(source), Path(output), overlay)
    logger.info("%s: %d pictures, %d skipped as unreadable", output, written, skipped)


def segment_folder(source: Path, output: Path, overlay: Overlay) -> tuple[int, int]:
    """Numbers of images written and skipped."""
    files, written = image_files(source), 0
    names = output_names(files)
    for file, image in readable(progress(files, source.name)):
        with atomic_path(output / f"{names[file]}.png") as temporary:
            Image.fromarray(overlay(image)).save(temporary, format="PNG")
        written += 1
    if not written:
        raise InputError(f"{source}: none of its {len(files)} images can be read; replace them")
    return written, len(files) - written


def segment_video(source: Path, output: Path, overlay: Overlay) -> tuple[int, int]:
    """Numbers of frames written and skipped."""
    if output.suffix != ".mp4":
        raise InputError(f"{output}: videos are written as MP4; name it .mp4")
    video = cv2.VideoCapture(str(source))
    total, written, skipped = max(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), 0), 0, 0
    with atomic_path(output) as temporary, mp4_writer(temporary, frame_rate(video)) as write:
        for frame in progress(frames(video, total), source.name, unit="frame", total=total):
            if frame is None:
                skipped += 1
                continue
            write(overlay(frame))
            written += 1
        if not written:
            raise InputError(f"{source}: no frame of it can be read; convert it, or give a folder of images")
    if skipped:
        logger.warning("skipped: %s: %d of %d frames cannot be read", source, skipped, written + skipped)
    return written, skipped


def frames(video: cv2.VideoCapture, total: int) -> Iterator[np.ndarray | None]:
    """Frames as RGB uint8 [H, W, 3], and a None for each that cannot be read.

    Containers announce a `total` that may be too low, or none: where nothing was readable for `PATIENCE` frames beyond
    it, the video is at its end, and those do not count.
    """
    failed = 0
    for number in itertools.count():
        read, frame = video.read()
        if read:
            yield from itertools.repeat(None, failed)
            failed = 0
            yield np.ascontiguousarray(frame[..., ::-1])
        elif number < total:
            yield None
        elif failed == PATIENCE:
            return
        else:
            failed += 1


def frame_rate(video: cv2.VideoCapture) -> float:
    """Frames a second; 25 where the container names none that can be."""
    rate = video.get(cv2.CAP_PROP_FPS)
    return rate if 0 < rate <= 240 else 25.0


@contextmanager
def mp4_writer(path: Path, rate: float) -> Iterator[Callable[[np.ndarray], None]]:
    """A function that appends frames, RGB uint8 [H, W, 3] of one size, to a video at `path`.

    Raises:
        InputError: this OpenCV cannot write such a video.
    """
    named, writer = path.with_suffix(".mp4"), cv2.VideoWriter()  # OpenCV tells the format by the name's end

    def write(frame: np.ndarray) -> None:
        if not writer.isOpened():
            writer.open(str(named), cv2.VideoWriter.fourcc(*"mp4v"), rate, frame.shape[1::-1])
        if not writer.isOpened():
            raise InputError(
                f"OpenCV writes no MP4 of {frame.shape[1]} x {frame.shape[0]} pixels, {rate:g} frames a second"
            )
        writer.write(frame[..., ::-1])

    try:
        yield write
        writer.release()
        named.replace(path)
    finally:
        writer.release()
        named.unlink(missing_ok=True)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))

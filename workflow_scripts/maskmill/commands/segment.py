"""Segment a video or a folder of images with an exported network (.onnx).

By hand: maskmill segment models/p2at_s.onnx clip.mp4 overlays.mp4
         maskmill segment models/p2at_s.onnx photos overlays
In: `model`, an ONNX file below models/; `source`. Out: `output`, the frames (an .mp4 file) or the images (a folder of
PNG files) with the colours of the classes laid over them. Frames and files that cannot be read are skipped and counted.
"""

import itertools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from maskmill.data.images import SUFFIXES, image_files, output_names, readable
from maskmill.errors import InputError
from maskmill.progress import progress
from maskmill.reporting.overlay import painted
from maskmill.storage.atomic import atomic_path
from maskmill.storage.onnx_models import OnnxModel

logger = logging.getLogger(__name__)

PATIENCE = 50  # number of unreadable frames in a row after which a video counts as ended

Overlay = Callable[[np.ndarray], np.ndarray]  # lays the classes over an image, uint8 [H, W, 3]


def main(
    model: str, source: str, output: str, short_side: int | None = None, opacity: float = 0.5, threads: int = 0
) -> None:
    """Lay the classes that a network predicts over every frame or image.

    Args:
        model: ONNX file that the workflow exported, e.g. models/p2at_s.onnx
        source: video file, or folder of images
        output: .mp4 file for a video, folder for a folder
        short_side: pixels that the short side of a larger picture is shrunk to for the network; default: the working
            size of its training
        opacity: of the colours, 0 (invisible) to 1
        threads: number of CPU threads; 0: all cores
    """
    if not 0 <= opacity <= 1:
        raise InputError(f"--opacity: {opacity} lies outside 0..1; correct it")
    if short_side is not None and short_side < 1:
        raise InputError(f"--short-side: {short_side} pixels; give 1 or more")
    if threads < 0:
        raise InputError(f"--threads: {threads}; give 0 for all cores, or more")
    network = OnnxModel(model, threads)
    colours, background = np.array(network.colours, np.uint8), network.classes[:1] == ["background"]

    def overlay(image: np.ndarray) -> np.ndarray:
        return painted(image, network.labels(image, short_side), colours, opacity, background=background)

    if not Path(source).exists():
        raise InputError(f"{source}: no such video or folder of images; correct --source")
    if Path(source).is_file() and Path(source).suffix.lower() in SUFFIXES and Path(source).suffix.lower() != ".gif":
        raise InputError(f"{source}: is one image; give the folder that it lies in")
    if Path(output).resolve() == Path(source).resolve():
        raise InputError(f"{output}: overlays would replace the originals; give another --output")
    segment = segment_folder if Path(source).is_dir() else segment_video
    written, skipped = segment(Path(source), Path(output), overlay)
    logger.info("%s: %d pictures, %d skipped as unreadable", output, written, skipped)


def segment_folder(source: Path, output: Path, overlay: Overlay) -> tuple[int, int]:
    """Write an overlay per image of a folder; returns the numbers of images written and skipped."""
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
    """Write a video of overlays; returns the numbers of frames written and skipped."""
    if output.suffix.lower() != ".mp4":
        raise InputError(f"{output}: videos are written as MP4; name it .mp4")
    try:
        from maskmill.data.videos import change_frames
    except ImportError:
        change_frames = change_frames_with_opencv
    written, skipped = change_frames(source, output, overlay)
    if skipped:
        logger.warning("skipped: %s: %d of %d frames cannot be read", source, skipped, written + skipped)
    return written, skipped


def change_frames_with_opencv(source: Path, output: Path, change: Overlay) -> tuple[int, int]:
    """`data.videos.change_frames` without PyAV: at a constant rate, without sound, with even sides.

    Raises:
        InputError: no frame can be read, or the rate is none that a constant one can stand for.
    """
    video = cv2.VideoCapture(str(source))
    total, written, skipped = max(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), 0), 0, 0
    rate = frame_rate(video, source)
    with atomic_path(output) as temporary, mp4_writer(temporary, rate) as write:
        for frame in progress(frames(video, total), source.name, unit="frame", total=total):
            if frame is None:
                skipped += 1
                continue
            write(change(frame))
            written += 1
        if not written:
            raise InputError(f"{source}: no frame of it can be read; convert it, or give a folder of images")
    logger.warning(
        "%s: %g frames per second throughout, no sound, an odd row or column cut off, since PyAV is not installed; "
        "to keep times, sound and size: pip install av",
        *(output, rate),
    )
    return written, skipped


def frames(video: cv2.VideoCapture, total: int) -> Iterator[np.ndarray | None]:
    """Frames as RGB uint8 [H, W, 3], and None for each frame that cannot be read.

    Args:
        total: number of frames that the container announces; it may be too low, or 0. Beyond it the video ends where
            `PATIENCE` frames in a row cannot be read; these are not yielded.
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


def frame_rate(video: cv2.VideoCapture, source: Path) -> float:
    """Frames per second; 25 where the container names no rate.

    Raises:
        InputError: the rate is above 240, which containers name in place of a variable one.
    """
    rate = video.get(cv2.CAP_PROP_FPS)
    if rate > 240:
        raise InputError(
            f"{source}: {rate:g} frames per second, which only PyAV can keep; pip install av, or convert the video to "
            "a constant rate of at most 240"
        )
    return rate if rate > 0 else 25.0


@contextmanager
def mp4_writer(path: Path, rate: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Gives a function that appends frames, RGB uint8 [H, W, 3] of one size, to a video at `path`.

    Raises:
        InputError: this OpenCV cannot write such a video.
    """
    named, writer = path.with_suffix(".mp4"), cv2.VideoWriter()  # OpenCV chooses the format by the suffix

    def write(frame: np.ndarray) -> None:
        if not writer.isOpened():
            writer.open(str(named), cv2.VideoWriter.fourcc(*"mp4v"), rate, frame.shape[1::-1])
        if not writer.isOpened():
            raise InputError(
                f"OpenCV cannot write an MP4 file of {frame.shape[1]} x {frame.shape[0]} pixels at {rate:g} frames per "
                "second; give a folder of images instead"
            )
        writer.write(frame[..., ::-1])

    try:
        yield write
        writer.release()
        named.replace(path)
    finally:
        writer.release()
        named.unlink(missing_ok=True)

"""Videos whose frames are changed one by one: the copy keeps times, size, orientation and sound of the original."""

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.container import InputContainer, OutputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from maskmill.errors import InputError
from maskmill.progress import progress
from maskmill.storage.atomic import atomic_path

logger = logging.getLogger(__name__)

TICK = Fraction(1, 60000)  # s; unit of the copy's times: MPEG-4 has no finer one than 1/65535
FINE = {"qmin": "2", "qmax": "4"}  # quantisers of the encoder: hardly any loss is seen


def change_frames(source: Path, output: Path, change: Callable[[np.ndarray], np.ndarray]) -> tuple[int, int]:
    """Write an MP4 file of changed frames; returns the numbers of frames written and of those that cannot be read.

    In place of a frame that cannot be read, the one before it stays, so that sound and picture keep together.
    Uncompressed sound and what else MP4 does not hold is left out, with a warning.

    Args:
        change: gets a frame as it is watched, RGB uint8 [H, W, 3], and returns one of the same size.

    Raises:
        InputError: there is no frame that can be read.
    """
    unreadable = InputError(f"{source}: no frame of it can be read; convert it, or give a folder of images")
    try:
        film = av.open(str(source))
    except av.FFmpegError:
        raise unreadable from None
    with film, atomic_path(output) as temporary, av.open(str(temporary), "w", format="mp4") as copy:
        video = film.streams.best("video")
        if not isinstance(video, VideoStream):
            raise unreadable
        kept = [s for s in film.streams.audio if s.name in copy.supported_codecs and not s.name.startswith("pcm_")]
        sound = {stream: copy.add_stream_from_template(stream) for stream in kept}
        left_out = [f"{s.type} ({getattr(s, 'name', '')})" for s in film.streams if s is not video and s not in sound]
        if left_out:
            logger.warning("left out: %s: %s, which is not copied to MP4", source, ", ".join(left_out))
        step = 1 / (video.average_rate or video.guessed_rate or Fraction(25))  # s; used where frames have no times
        drawn, waiting, written, skipped, ticks = None, [], 0, 0, -1
        for part in parts(film, video, list(sound)):
            if part is None:
                skipped += 1
            elif isinstance(part, av.Packet):
                waiting.append(part)
            else:
                picture = change(upright(part))
                drawn = drawn or new_stream(copy, picture, part, video)
                unit = part.time_base or Fraction(0)
                seconds = step * (written + skipped) if part.pts is None else part.pts * unit
                lasts = part.duration * unit or step
                ticks = max(ticks + 1, round(seconds / TICK))
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.duration, frame.time_base = ticks, round(lasts / TICK), TICK
                copy.mux(drawn.encode(frame))
                written += 1
            for packet in waiting if drawn else ():  # the file's header needs the first frame, and precedes all sound
                packet.stream = sound[packet.stream]
                copy.mux(packet)
            waiting = [] if drawn else waiting
        if drawn is None:
            raise unreadable
        copy.mux(drawn.encode())
    return written, skipped


def parts(film: InputContainer, video: VideoStream, sound: list[Stream]) -> Iterator[av.VideoFrame | av.Packet | None]:
    """Frames, None for each that cannot be read, and packets of sound, in the order of the file."""
    bar = progress((), Path(film.name).name, unit="frame", total=video.frames or None)
    for packet in film.demux(video, *sound):
        if packet.stream is not video:
            if packet.dts is not None:  # otherwise it only marks the end
                yield packet
            continue
        frames: list[Any] = [None]
        with suppress(av.FFmpegError):
            frames = packet.decode()
        yield from frames
        bar.update(len(frames))
    bar.close()


def upright(frame: av.VideoFrame) -> np.ndarray:
    """RGB uint8 [H, W, 3], turned as the camera was held."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))


def new_stream(copy: OutputContainer, picture: np.ndarray, first: av.VideoFrame, video: VideoStream) -> VideoStream:
    """The stream of the changed frames; `first` is the frame that `picture` was made of."""
    stream = copy.add_stream("mpeg4", rate=1 / TICK, options=FINE)
    stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
    stream.codec_context.time_base = TICK
    stream.codec_context.flags |= Flags.frame_duration
    aspect = video.sample_aspect_ratio  # of a pixel, width to height
    if aspect:
        stream.codec_context.sample_aspect_ratio = 1 / aspect if round(first.rotation / 90) % 2 else aspect
    return stream

"""Copies of videos: times, size, sound."""

import logging
from fractions import Fraction

import av
import numpy as np
import pytest

from maskmill.data.videos import change_frames, upright
from maskmill.errors import InputError

MILLISECOND = Fraction(1, 1000)


def film(path, times, size=(47, 63), tick=MILLISECOND, sound=None, codec="ffv1") -> None:
    """Write grey frames, brighter from frame to frame, at times in ticks, and one second of a tone."""
    with av.open(str(path), "w") as made:
        video = made.add_stream(codec, rate=1 / tick)
        video.height, video.width, video.pix_fmt = *size, "yuv420p" if codec == "mpeg4" else "bgr0"
        video.codec_context.time_base = tick
        heard = made.add_stream(sound, rate=48000) if sound else None
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((*size, 3), 40 + 20 * number % 200, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, tick
            made.mux(video.encode(frame))
        made.mux(video.encode())
        for start in range(0, 48000 if sound else 0, 1000):
            wave = np.sin(np.arange(start, start + 1000) / 20).astype(np.float32)[None]
            part = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            part.sample_rate, part.pts = 48000, start
            made.mux(heard.encode(part))
        if sound:
            made.mux(heard.encode())


def frames_of(path) -> tuple[list[float], np.ndarray]:
    """Times in seconds, and frames [N, H, W, 3]."""
    with av.open(str(path)) as video:
        frames = list(video.decode(video=0))
        return [frame.time for frame in frames], np.stack([frame.to_ndarray(format="rgb24") for frame in frames])


def test_times_that_vary_odd_sides_and_sound_are_kept(tmp_path):
    times = [0, 40, 80, 200, 240, 700, 741, 900]
    film(tmp_path / "phone.mkv", times, sound="aac")
    assert change_frames(tmp_path / "phone.mkv", tmp_path / "out.mp4", lambda image: 255 - image) == (8, 0)
    seconds, frames = frames_of(tmp_path / "out.mp4")
    np.testing.assert_allclose(seconds, np.array(times) / 1000, atol=1e-4)
    assert frames.shape == (8, 47, 63, 3)
    np.testing.assert_allclose(frames.mean(axis=(1, 2, 3)), 215 - 20 * np.arange(8), atol=3)
    with av.open(str(tmp_path / "phone.mkv")) as before, av.open(str(tmp_path / "out.mp4")) as after:
        kept, copied = ([bytes(packet) for packet in film.demux(audio=0) if packet.size] for film in (before, after))
    assert len(kept) > 40 and copied == kept


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "frames"), [(960, 960), (Fraction(30000, 1001), 30)])
def test_fast_and_broken_rates_last_as_long_as_before(rate, frames, tmp_path):
    film(tmp_path / "slow_motion.mp4", range(frames), size=(16, 16), tick=1 / Fraction(rate), codec="mpeg4")
    assert change_frames(tmp_path / "slow_motion.mp4", tmp_path / "out.mp4", lambda image: image) == (frames, 0)
    seconds, _ = frames_of(tmp_path / "out.mp4")
    np.testing.assert_allclose(seconds, np.arange(frames) / float(rate), atol=2e-5)


def test_sound_that_is_not_copied_is_named(tmp_path, caplog):
    film(tmp_path / "camera.mkv", [0, 100], sound="pcm_s16le")
    with caplog.at_level(logging.WARNING):
        assert change_frames(tmp_path / "camera.mkv", tmp_path / "out.mp4", lambda image: image) == (2, 0)
    assert "camera.mkv: audio (pcm_s16le), which is not copied to MP4" in caplog.text
    with av.open(str(tmp_path / "out.mp4")) as made:
        assert not made.streams.audio


def test_a_video_that_was_held_upright_is_turned():
    class Turned:
        rotation = -90  # a quarter to the right

        def to_ndarray(self, format):
            return np.arange(6, dtype=np.uint8).reshape(2, 3, 1).repeat(3, axis=2)

    assert upright(Turned())[..., 0].tolist() == [[3, 0], [4, 1], [5, 2]]


def test_what_is_no_video_is_one_line_and_leaves_nothing(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    with av.open(str(tmp_path / "sound.mp4"), "w") as made:
        heard = made.add_stream("aac", rate=48000)
        part = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        part.sample_rate = 48000
        made.mux(heard.encode(part))
        made.mux(heard.encode())
    for name in ("text.mp4", "sound.mp4"):
        with pytest.raises(InputError, match=f"{name}: no frame of it can be read; convert it"):
            change_frames(tmp_path / name, tmp_path / "out/clip.mp4", lambda image: image)
    assert not list(tmp_path.glob("out/*"))

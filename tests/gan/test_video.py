import numpy as np
import pytest

from tfdl.engine import errors
from tfdl.gan import video


def test_a_video_is_read_back(tmp_path):
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    frames = [np.full([33, 47, 3], c, np.uint8) for c in colours]
    path = tmp_path / "new" / "a.mp4"
    assert video.write(path, frames, rate=10) == 3
    found = list(video.read(path))
    assert [f.shape for f in found] == [(34, 48, 3)] * 3
    for frame, colour in zip(found, colours, strict=True):
        assert np.abs(frame.mean((0, 1)) - colour).max() < 8
    assert [p.name for p in path.parent.iterdir()] == ["a.mp4"]


def test_a_failing_writer_leaves_nothing(tmp_path):
    def frames():
        yield np.zeros([8, 8, 3], np.uint8)
        yield np.zeros([8, 10, 3], np.uint8)

    with pytest.raises(ValueError, match="among those"):
        video.write(tmp_path / "a.mp4", frames())
    with pytest.raises(ValueError, match="at least one"):
        video.write(tmp_path / "a.mp4", [])
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("x")
    with pytest.raises(errors.UserError, match="cannot write"):
        video.write(tmp_path / "file" / "a.mp4", frames())

"""Pictures of fetched sets, without fetching: a folder laid out as the set's."""

import json

import numpy as np
import pytest
from PIL import Image

from tfdl.data import fetching
from tfdl.data.image_sources import open_source
from tfdl.engine.errors import UserError


def test_emoji_are_on_white_with_their_categories(tmp_path, monkeypatch):
    described = []
    for i, (name, category) in enumerate([("b", "Food"), ("a", "Animals")]):
        picture = Image.new("RGBA", (64, 64), (200, 0, 0, 0))
        picture.paste((10 * i, 20, 30, 255), (0, 0, 32, 64))
        picture.save(tmp_path / f"{name}.png")
        picture.save(tmp_path / f"{name}-1.png")
        variation = {"1F3FB": {"image": f"{name}-1.png"}}
        entry = {"image": f"{name}.png", "category": category}
        described.append({**entry, "skin_variations": variation})
    Image.new("RGBA", (64, 64)).save(tmp_path / "not-described.png")
    (tmp_path / "emoji.json").write_text(json.dumps(described))
    monkeypatch.setattr(fetching, "fetch", lambda name: tmp_path)
    source = open_source("prepared:emoji-64")
    assert source.classes == ("Animals", "Food") and len(source) == 4
    np.testing.assert_array_equal(source.labels, [0, 0, 1, 1])
    assert (source.images[0][:, :32] == [10, 20, 30]).all()
    assert (source.images[0][:, 32:] == 255).all()


def test_unknown_sets_are_told():
    with pytest.raises(UserError, match="did you mean 'emoji-64'"):
        open_source("prepared:emoji64")

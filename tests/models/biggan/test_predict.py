"""Predictions: classes by any name, sheets, walks, videos, dumps that go on."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.models.biggan import small
from tfdl.data import class_names
from tfdl.engine import errors, model_dir
from tfdl.engine.prediction import Request
from tfdl.gan import video
from tfdl.models.biggan import labels
from tfdl.models.biggan.predict import predict


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small.save_model(tmp_path_factory.mktemp("model") / "m")


def ask(model, output, **fields):
    config = model_dir.read_config(model)
    options = fields.pop("options", {})
    request = Request(model, config, output=str(output), options=options, **fields)
    return list(predict(request))


def pixels(path):
    return np.asarray(Image.open(io.BytesIO(path.read_bytes())))


def test_classes_by_number_id_and_name():
    known = class_names.imagenet()
    assert labels.parse("207, n02123045 ,Pizza", known) == [207, 281, 963]
    assert len(labels.parse("all", known)) == 1000
    for text, message in (
        ("1000", "0 to 999"),
        ("-1", "0 to 999"),
        ("golden retreiver", "golden retriever"),
        ("crane", "'crane \\(bird\\)' or 'crane \\(machine\\)'"),
    ):
        with pytest.raises(errors.UserError, match=message):
            labels.parse(text, known)
    twice = [class_names.ClassName("bat", x) for x in ("n00000001", "n00000002")]
    with pytest.raises(errors.UserError, match="several classes are called 'bat'"):
        labels.parse("bat", twice)
    digits = [class_names.ClassName(str(i)) for i in (5, 6, 7)]
    assert labels.parse("6;5", digits) == [1, 0]


def test_a_sheet_has_a_row_per_class(model, tmp_path):
    (record,) = ask(model, tmp_path / "a.png", num_samples=3, labels="tench,b", seed=1)
    assert record["classes"] == ["b", "tench"] and record["truncation"] == 0.5
    image = pixels(tmp_path / "a.png")
    assert image.shape[0] == 2 * 33 - 1 and image.shape[1] > 3 * 33
    ask(model, tmp_path / "b.png", num_samples=3, labels="1,2", seed=1)
    np.testing.assert_array_equal(image, pixels(tmp_path / "b.png"))
    ask(model, tmp_path / "c.png", num_samples=3, labels="1,2", seed=2)
    assert not np.array_equal(image, pixels(tmp_path / "c.png"))


def test_a_folder_has_a_file_per_picture(model, tmp_path):
    records = ask(model, tmp_path / "all", num_samples=2, labels="0,3")
    assert [record["label"] for record in records] == [0, 3, 0, 3]
    assert pixels(tmp_path / "all" / "000001-3.png").shape == (32, 32, 3)


@pytest.mark.parametrize(("walk", "shared_dim"), [("both", 0), ("z", 4), ("class", 4)])
def test_walks(tmp_path, walk, shared_dim):
    model = small.save_model(tmp_path / "m", shared_dim)
    options = {"figure": "interpolation", "walk": walk, "rows": "2", "midpoints": "2"}
    (record,) = ask(
        model, tmp_path / "w.png", labels="0,1,2,3", options=options, truncation=1.0
    )
    assert len(record["classes"]) == (2 if walk == "z" else 4)
    image = pixels(tmp_path / "w.png")
    assert image.shape == (2 * 33 - 1, 4 * 33 - 1, 3)
    # The ends are the pictures of the ends.
    import tfdl
    from tfdl.models.biggan import sampling, standing

    sampler = sampling.Sampler(tfdl.load(str(model)), standing.Standing(passes=0))
    z = sampler.latents(4, 1.0, 0)
    if walk == "class":
        z = z[[0, 0, 2, 2]]
    classes = np.array([0, 0, 2, 2] if walk == "z" else [0, 1, 2, 3], np.int32)
    ends = sampler.draw(z, classes, 1.0)
    for row in range(2):
        for end, column in ((0, 0), (1, 3)):
            found = image[33 * row : 33 * row + 32, 33 * column : 33 * column + 32]
            difference = found.astype(int) - ends[2 * row + end]
            assert np.abs(difference).max() <= 1


def test_a_video_goes_round(model, tmp_path):
    options = {"figure": "interpolation", "midpoints": "3"}
    (record,) = ask(model, tmp_path / "w.mp4", labels="0,1,2", options=options)
    assert record["frames"] == 9
    assert len(list(video.read(tmp_path / "w.mp4"))) == 9


def test_a_truncation_sheet(model, tmp_path):
    ask(model, tmp_path / "t.png", num_samples=2, options={"figure": "truncation"})
    assert pixels(tmp_path / "t.png").shape[0] == 6 * 33 - 1


class Interrupted(Exception):
    pass


def test_a_dump_goes_on_where_it_was_interrupted(model, tmp_path, monkeypatch):
    fields = {"num_samples": 10, "seed": 3, "options": {"batch_size": "4"}}
    (record,) = ask(model, tmp_path / "whole.npz", **fields)
    assert record["images"] == 10 and record["truncation"] == 1.0
    from tfdl.models.biggan.dumps import Dump

    add = Dump.add

    def fails(self, number, *arrays):
        if number == 2:
            raise Interrupted
        add(self, number, *arrays)

    monkeypatch.setattr(Dump, "add", fails)
    with pytest.raises(Interrupted):
        ask(model, tmp_path / "part.npz", **fields)
    assert not (tmp_path / "part.npz").exists()
    monkeypatch.setattr(Dump, "add", add)
    with pytest.raises(errors.UserError, match="seed differ"):
        ask(model, tmp_path / "part.npz", **{**fields, "seed": 4})
    drawn = []
    monkeypatch.setattr(
        Dump, "add", lambda self, n, *a: (drawn.append(n), add(self, n, *a))
    )
    ask(model, tmp_path / "part.npz", **fields)
    assert drawn == [2]
    with (
        np.load(tmp_path / "whole.npz") as whole,
        np.load(tmp_path / "part.npz") as part,
    ):
        np.testing.assert_array_equal(whole["x"], part["x"])
        np.testing.assert_array_equal(whole["y"], part["y"])
        assert whole["x"].dtype == np.uint8 and whole["y"].dtype == np.int64
    assert not list(tmp_path.glob("*.parts"))
    fields["options"] = {"layout": "nchw"}
    ask(model, tmp_path / "nchw.npz", **fields)
    with np.load(tmp_path / "nchw.npz") as arrays:
        assert arrays["x"].shape == (10, 3, 32, 32)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"labels": "4"}, "0 to 3"),
        ({"truncation": 0.0}, "above 0, at most 1"),
        ({"truncation": 1.5}, "above 0, at most 1"),
        ({"options": {"figure": "grid"}}, "interpolation"),
        ({"options": {"latents": "clip"}}, "resample"),
        ({"options": {"colour": "red"}}, "option"),
        ({"output": "x.gif"}, "x.gif"),
        ({"output": ""}, "--output is needed"),
        ({"output": "x.mp4"}, "figure=interpolation"),
    ],
)
def test_requests_that_make_no_sense(model, tmp_path, fields, message):
    output = fields.pop("output", tmp_path / "a.png")
    with pytest.raises(errors.UserError, match=message):
        ask(model, output, **fields)
    assert not list(tmp_path.iterdir())


def test_names_of_another_number(model, tmp_path):
    (tmp_path / "names.txt").write_text("x\ny\n")
    options = {"class_names": str(tmp_path / "names.txt")}
    with pytest.raises(errors.UserError, match="names 2 classes, the model has 4"):
        ask(model, tmp_path / "a.png", options=options)

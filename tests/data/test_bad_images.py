"""Bad files: a run stops and names one, or goes on without it and counts it."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.data import pictures
from tfdl.data import image_files, train_images
from tfdl.data.evaluation_images import evaluation_images, square_plan
from tfdl.data.guarded_map import guarded_map
from tfdl.data.image_sources import open_source
from tfdl.engine import errors


def saved(image, kind) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def bad_files() -> dict[str, tuple[bytes, str]]:
    """Returns file name -> (bytes, what has to be said of them)."""
    jpeg, png = pictures.encoded(60, 60), pictures.encoded(60, 60, kind="PNG")
    cut_in_header = jpeg[:100]
    broken = bytearray(jpeg)
    scan = jpeg.index(b"\xff\xc4")
    broken[scan + 4 : scan + 60] = b"\xff" * 56  # nonsense for Huffman tables
    return {
        "cut.jpg": (jpeg[: len(jpeg) * 2 // 3], "is a JPEG that is cut off"),
        "header.jpg": (cut_in_header, "is cut off in its header"),
        "broken.jpg": (bytes(broken), "is a damaged JPEG"),
        "cut.png": (png[: len(png) // 2], "is a PNG that is cut off"),
        "zero.jpg": (b"", "is empty"),
        "text.jpg": (b"hello, I am a text", "is no image, neither JPEG nor PNG"),
        "gif.jpg": (saved(Image.new("L", (5, 5)), "GIF"), "is a GIF, neither"),
    }


def huge() -> bytes:
    """Returns a JPEG whose header says 20000x20000."""
    data = bytearray(pictures.encoded(16, 16))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = (20_000).to_bytes(2, "big") * 2
    return bytes(data)


def all_pictures(source, on_bad):
    count = len(source)
    index = np.arange(-count % 2 + count).reshape(-1, 2)
    index[index >= count] = -1
    rows = tf.data.Dataset.from_tensor_slices({"index": index, "position": index})
    return train_images.training_images(source, rows, 8, seed=0, on_bad=on_bad)


@pytest.fixture(scope="module")
def bad_folder(tmp_path_factory):
    root = pictures.folder(tmp_path_factory.mktemp("bad"), 3)
    kinds = {**bad_files(), "huge.jpg": (huge(), "has 20000x20000 pixels, the limit")}
    for name, (data, _) in kinds.items():
        (root / "train" / "cat" / name).write_bytes(data)
    return root, {name: message for name, (_, message) in kinds.items()}


def test_every_kind_is_told(bad_folder):
    root, kinds = bad_folder
    source = open_source(f"folder:{root}")
    for index in range(len(source)):
        name = source.name(index).rsplit("/", 1)[1]
        problem = source.problem(index)
        assert (name in kinds) == (problem is not None), name
        assert kinds.get(name, "") in (problem or ""), (name, problem)


def test_skip_goes_on_and_counts(bad_folder):
    root, kinds = bad_folder
    source = open_source(f"folder:{root}", on_bad="skip")
    found = list(all_pictures(source, "skip").as_numpy_iterator())
    assert len(found) == len(source) // 2
    weights = np.concatenate([batch["weight"] for batch in found])
    assert weights.sum() == 6 == len(source) - len(kinds)
    images = np.concatenate([batch["image"] for batch in found])
    assert not images[weights == 0].any() and images[weights == 1].any((1, 2, 3)).all()
    assert len(source.bad) == len(kinds)
    told = "\n".join(source.bad.lines())
    assert all(f"{name}: {message}" in told for name, message in kinds.items()), told
    plan = square_plan(len(source), 4, 8, 8)
    evaluated = evaluation_images(source, plan, on_bad="skip").as_numpy_iterator()
    assert sum(batch["weight"].sum() for batch in evaluated) == 6
    sizes = source.shapes(on_bad="skip")
    assert (sizes[source.labels == 1] > 1).all()
    assert not (root / "train" / ".tfdl-shapes.npz").exists()


def test_stop_names_the_file(bad_folder):
    root, _ = bad_folder
    source = open_source(f"folder:{root}")
    with pytest.raises(tf.errors.OpError) as caught:
        list(all_pictures(source, "stop"))
    told = str(errors.raised_within(caught.value))
    assert told.startswith(str(root)) and "\n" not in told
    with pytest.raises(errors.UserError, match=str(root)):
        source.shapes()


def test_a_file_that_vanished_is_named(tmp_path):
    root = pictures.folder(tmp_path, 2)
    source = open_source(f"folder:{root}")
    (root / "train" / "cat" / "1.jpg").unlink()
    found = list(all_pictures(source, "skip").as_numpy_iterator())
    assert np.concatenate([b["weight"] for b in found]).tolist() == [1, 0, 1, 1]
    assert "1.jpg: cannot be read (No such file" in source.bad.lines()[0]


def test_pictures_of_one_pixel_are_pictures(tmp_path):
    root = pictures.folder(tmp_path, 1)
    (root / "train" / "cat" / "1.jpg").write_bytes(pictures.encoded(1, 1))
    (root / "train" / "cat" / "2.png").write_bytes(pictures.encoded(1, 1, kind="PNG"))
    source = open_source(f"folder:{root}")
    found = list(all_pictures(source, "stop").as_numpy_iterator())
    assert sum(batch["weight"].sum() for batch in found) == 4


def test_the_limit_is_on_pixels(monkeypatch):
    data = pictures.encoded(40, 50)
    monkeypatch.setattr(image_files, "MAX_PIXELS", 2000)
    assert image_files.size(data) == (40, 50)
    monkeypatch.setattr(image_files, "MAX_PIXELS", 1999)
    with pytest.raises(image_files.Unreadable, match="50x40 .* limit is 1,999"):
        image_files.size(data)


@pytest.mark.parametrize("failing", [[], [0], [4], [0, 1, 2, 3, 4], [1, 3]])
def test_a_guarded_map_keeps_order_and_count(failing):
    rows = tf.data.Dataset.range(5).map(lambda x: {"x": x})

    def fast(row):
        fails = tf.reduce_any(row["x"] == tf.constant([*failing, -1], tf.int64))
        with tf.control_dependencies([tf.debugging.Assert(~fails, [row["x"]])]):
            return {"y": row["x"] * 10}

    mended = []

    def repair(row):
        mended.append(int(row["x"]))
        return {"y": row["x"] * 10 + 1}

    dataset = guarded_map(rows, fast, repair, {"y": tf.TensorSpec([], tf.int64)}, 3)
    want = [10 * x + (x in failing) for x in range(5)]
    for _ in range(2):  # a second iterator counts anew
        assert [int(row["y"]) for row in dataset] == want
    assert mended == failing * 2
    assert dataset.cardinality() == 5

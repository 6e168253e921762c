"""Conversion of the original's pickles, and back."""

import json

import numpy as np
import pytest

import tfdl
from tests.helpers import golden
from tests.models.stylegan.goldens import arrays, assert_near, nhwc, pickled
from tests.models.stylegan.pickles import dump, networks
from tfdl.engine.errors import UserError
from tfdl.models.stylegan import convert, original
from tfdl.models.stylegan import model as stylegan


@pytest.mark.parametrize("name", ["tiny32", "cond16"])
def test_triple(name, tmp_path):
    path, io = golden("stylegan", f"{name}.pkl"), arrays(name)
    summary = tfdl.convert("stylegan", path, tmp_path / "out")
    assert summary["format"] == "nvlabs-pickle" and summary["max_difference"] == 0
    assert set(summary["networks"]) == {"G", "D", "Gs"}
    model = tfdl.load(tmp_path / "out")
    labels = {"label": io["labels"]} if "labels" in io else {}
    assert_near(model.mapping(io["z"], io.get("labels")), io["w"])
    assert_near(model.synthesis(io["w"][:2]), nhwc(io["img_lod0"]))
    given = {"z": io["z"], **labels}
    assert_near(model(given)["image"][:1], nhwc(io["trunc0_img"]))
    # What training goes on from: the generator as trained, and the discriminator.
    g = stylegan.load_training_generator(tmp_path / "out")
    assert_near(g.mapping.vector(io["z"], io.get("labels")), io["w_G"])
    d = stylegan.load_discriminator(tmp_path / "out")
    assert_near(d(nhwc(io["d_images"]), io.get("d_labels")), io["d_scores_lod0"])
    report = json.loads((tmp_path / "out" / "assets" / convert.REPORT).read_text())
    assert len(report) == summary["tensors"]
    assert report["D/4x4/Dense0/weight"]["max_difference"] == 0
    # Weights are kept as they are in the file, raw.
    stored = pickled(name)["Gs"].parts["mapping"].arrays["Dense0/weight"]
    assert np.array_equal(model.mapping.dense[0].weight, stored)


def test_back_and_forth(tmp_path):
    tfdl.convert("stylegan", golden("stylegan", "cond16.pkl"), tmp_path / "a")
    back = convert.to_original(tmp_path / "a", tmp_path / "original")
    assert back["networks"] == ["Gs", "G", "D"]
    again = tfdl.convert("stylegan", tmp_path / "original", tmp_path / "b")
    assert again["format"] == "safetensors" and again["tensors"] == back["tensors"]
    first, second = (convert.load_networks(tmp_path / name) for name in "ab")
    for role, network in first.items():
        other = original.arrays_of(second[role])
        for key, array in original.arrays_of(network).items():
            assert np.array_equal(array, other[key]), key
        stored = pickled("cond16")[role]
        assert network.config == second[role].config
        assert network.config.label_size == stored.options["label_size"]


@pytest.mark.parametrize("role, version", [("Gs", 3), ("D", 2), ("D", 3)])
def test_one_network(role, version, tmp_path):
    made = networks("tiny32")[role]
    made["version"] = version
    if version == 2:
        del made["components"]
    made["variables"] = made["variables"][::-1]
    path = dump(tmp_path / "one.pkl", made)
    summary = tfdl.convert("stylegan", path, tmp_path / "out")
    assert list(summary["networks"]) == [role]
    model, io = tfdl.load(tmp_path / "out"), arrays("tiny32")
    if role == "Gs":
        assert_near(model.synthesis(io["w"][:2]), nhwc(io["img_lod0"]))
        assert stylegan.load_discriminator(tmp_path / "out") is None
    else:
        scores = model({"image": nhwc(io["d_images"])})["scores"]
        assert_near(scores, io["d_scores_lod0"])


def test_level_of_detail(tmp_path):
    # A snapshot in the middle of a fade gives the pictures of that moment.
    made = networks("tiny32")["Gs"]
    made["variables"] = [
        (name, np.float32(1.75) if name == "lod" else value)
        for name, value in made["variables"]
    ]
    tfdl.convert("stylegan", dump(tmp_path / "a.pkl", made), tmp_path / "out")
    model, io = tfdl.load(tmp_path / "out"), arrays("tiny32")
    image = model({"z": io["z"][:2], "truncation_psi": None})["image"]
    assert_near(image, nhwc(io["img_lod1.75"]))


def test_labels(tmp_path):
    path = golden("stylegan", "cond16.pkl")
    tfdl.convert("stylegan", path, tmp_path / "out", labels=["cat", "dog", "owl"])
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    names = (tmp_path / "out" / "assets" / config["classes"]).read_text()
    assert names.split() == ["cat", "dog", "owl"]
    with pytest.raises(UserError, match="labels has 2 names, the network 3 classes"):
        tfdl.convert("stylegan", path, tmp_path / "no", labels=["cat", "dog"])
    with pytest.raises(UserError, match="unknown option .*'label'; did you mean"):
        tfdl.convert("stylegan", path, tmp_path / "no", label=["cat"])
    assert not (tmp_path / "no").exists()


def test_output_over_source(tmp_path):
    path = dump(tmp_path / "in" / "one.pkl", networks("tiny32")["D"])
    with pytest.raises(UserError, match="would replace the source"):
        tfdl.convert("stylegan", path, tmp_path / "in")
    assert path.exists()

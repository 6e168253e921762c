"""The metrics on tiny networks: what they mean, and what they say of themselves."""

import numpy as np
import pytest

from tests.helpers import golden
from tests.models.stylegan import goldens
from tfdl.engine import errors
from tfdl.metrics.generative import path_length, small_cnn
from tfdl.models.stylegan import drawing, evaluation


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Neither uses nor fills the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(small_cnn, "_LEAST_STEPS", 30)
        yield


@pytest.fixture(scope="module")
def model():
    return goldens.network("tiny32", "Gs")


@pytest.fixture(scope="module")
def own(model):
    """Pictures of the network itself, and classes that its styles decide."""
    drawer = drawing.Drawer(model, 16)
    parts = list(drawer.samples(160, seed=7))
    images = np.concatenate([pictures for pictures, _, _ in parts])
    w = np.concatenate([w for _, _, w in parts])
    return images, (w[:, 0, 0] > np.median(w[:, 0, 0])).astype(np.int64)


def options(**changes):
    return {"samples": 160, "batch_size": 16, "extractor": "pixels", **changes}


def test_a_networks_own_pictures_are_nearest(model, own):
    images, labels = own
    metrics = ("fid", "kid", "prdc")
    near = evaluation.evaluate(model, images, labels, options(metrics=metrics))
    noise = np.random.RandomState(0).randint(0, 256, images.shape).astype(np.uint8)
    far = evaluation.evaluate(model, noise, None, options(metrics=metrics))
    assert 3 * near["fcd_pixels"] < far["fcd_pixels"]
    assert near["precision"] > 0.8 and near["recall"] > 0.8 and far["precision"] == 0
    assert near["samples"] == near["real_images"] == 160
    assert near["extractor"] == "pixels" and len(near["extractor_sha256"]) == 64
    # 192 numbers of 160 pictures.
    assert near["too_few_images"] == 1.0
    again = evaluation.evaluate(model, images, labels, options(metrics=metrics))
    assert again == near


def test_truncation_trades_recall_for_precision(model, own):
    images, labels = own
    found = {
        psi: evaluation.evaluate(
            model,
            images,
            labels,
            options(metrics=("prdc",), truncation_psi=psi),
        )
        for psi in (0.2, 1.0)
    }
    assert found[0.2]["recall"] < found[1.0]["recall"] - 0.3
    assert found[0.2]["truncation_psi"] == 0.2


def test_path_lengths_equal_their_definition(model, own):
    images, labels = own
    found = evaluation.evaluate(
        model,
        images,
        labels,
        options(metrics=("ppl",), paths=("wend",), pairs=16, perceptual="pyramid"),
    )
    assert set(found) == {
        "ppl_wend_pyramid",
        "ppl_pairs",
        "ppl_distance",
        "ppl_distance_sha256",
    }
    # By hand: at the end of paths in W, with one noise for all.
    from tfdl.metrics.generative import perceptual

    draws = np.random.RandomState(0)
    z = draws.randn(2, 16, model.config.latent_size).astype(np.float32)
    noise = [
        draws.randn(1, *layer.shape[1:]).astype(np.float32)
        for layer in model.synthesis.stored_noise()
    ]
    a, b = (model.mapping(one).numpy() for one in z)
    pictures = [
        model.synthesis(a + (b - a) * np.float32(t), noise=noise) for t in (0, 1e-4)
    ]
    distances = perceptual.pyramid(*pictures).numpy() / 1e-4**2
    wanted = path_length.filtered_mean(distances)
    # Differences of nearly equal pictures, in float32.
    assert found["ppl_wend_pyramid"] == pytest.approx(wanted, rel=0.05)


def test_path_lengths_crop_and_pairs(model, own):
    images, labels = own
    asked = {"metrics": ("ppl",), "paths": ("zfull", "wfull"), "perceptual": "pyramid"}
    whole, cropped = (
        evaluation.evaluate(model, images, labels, options(**asked, pairs=20, crop=c))
        for c in (False, True)
    )
    assert whole["ppl_pairs"] == 20
    assert whole["ppl_zfull_pyramid"] != cropped["ppl_zfull_pyramid"]
    assert 0 < cropped["ppl_wfull_pyramid"] < np.inf


def test_separability_by_the_datas_classes(model, own):
    images, labels = own
    asked = options(metrics=("separability",), separability_samples=200)
    found = evaluation.evaluate(model, images, labels, asked)
    assert found["separability_attributes"] == 2
    assert 1 <= found["separability_w_smallcnn"] <= 4
    with pytest.raises(errors.UserError, match="needs attributes"):
        evaluation.evaluate(model, images, None, asked)


def test_separability_by_pickled_classifiers(model, own, tmp_path):
    images, _ = own
    source = golden("stylegan", "tiny32.pkl")
    (tmp_path / "c-00.pkl").write_bytes(source.read_bytes())
    (tmp_path / "c-01.pkl").write_bytes(source.read_bytes())
    asked = options(
        metrics=("separability",),
        separability_samples=64,
        classifiers=str(tmp_path / "c-*.pkl"),
    )
    found = evaluation.evaluate(model, images, None, asked)
    assert found["separability_attributes"] == 2 and found["separability_w"] >= 1
    asked["classifiers"] = str(tmp_path / "d-*.pkl")
    with pytest.raises(errors.UserError, match="no such file"):
        evaluation.evaluate(model, images, None, asked)


def test_conditional_networks_draw_labels_as_the_data_have_them():
    model = goldens.network("cond16", "Gs")
    images = np.random.RandomState(0).randint(0, 256, [60, 16, 16, 1]).astype(np.uint8)
    labels = np.full([60], 2)
    asked = options(metrics=("fid", "ppl"), samples=32, pairs=8, paths=("zend",))
    asked["perceptual"] = "pyramid"
    found = evaluation.evaluate(model, images, labels, asked)
    assert np.isfinite(found["fcd_pixels"]) and found["ppl_zend_pyramid"] > 0
    drawer = drawing.Drawer(model, 8)
    parts = evaluation._Evaluation(model, images, labels, evaluation.Options.of(asked))
    draw = parts.draw_labels()
    assert draw(np.random.RandomState(0), 5).argmax(1).tolist() == [2] * 5
    assert drawer.config.label_size == 3
    with pytest.raises(errors.UserError, match="data with classes"):
        evaluation.evaluate(model, images, None, asked)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"metrics": ("fidd",)}, "did you mean 'fid'"),
        ({"paths": ("xfull",)}, "unknown path 'xfull'"),
        ({"sample": 3}, "unknown option of evaluation 'sample'"),
        ({"samples": 1}, "at least 2, got 1"),
        ({"epsilon": 0.0}, "epsilon in"),
    ],
)
def test_wrong_options(changes, message):
    with pytest.raises(errors.UserError, match=message):
        evaluation.Options.of(options(**changes))


def test_mirrored_pictures_count_too_and_are_read_in_parts(model, own):
    images, _ = own
    read = []

    def pictures(which):
        read.append(len(which))
        return images[which]

    lazily = evaluation.RealPictures(pictures, images.shape)
    asked = options(metrics=("fid",), mirror=True)
    found = evaluation.evaluate(model, lazily, None, asked)
    assert found["real_images"] == 320 and max(read) <= 64
    assert found == evaluation.evaluate(model, images, None, asked)

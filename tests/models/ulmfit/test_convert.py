"""fastai's files of three generations: read, refused, written back bit for bit."""

import collections
import pickle
import shutil
import tarfile

import numpy as np
import pytest

import tfdl
from tests.helpers import golden
from tests.models.ulmfit.networks import CHUNKS, convert, load
from tfdl.checkpoints import safetensors, torch_archive
from tfdl.engine import errors, model_dir
from tfdl.models.ulmfit import convert as module
from tfdl.models.ulmfit import names, sources, vocabulary_transfer


def state_dict(name: str) -> dict:
    """A golden checkpoint's arrays under their own names."""
    return dict(torch_archive.read(golden("ulmfit", name)))


def write(path, arrays):
    """Writes safetensors; returns the path."""
    safetensors.write(path, {k: np.ascontiguousarray(v) for k, v in arrays.items()})
    return path


def weights_of(model) -> dict:
    """All weights of a model by name."""
    return {n: v.numpy() for n, v in names.variable_names(model).items()}


def assert_equal(first: dict, second: dict):
    """Checks that two sets of arrays are the same, bit for bit."""
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


@pytest.mark.parametrize(
    "name, generation, head, tokens, rules",
    [
        ("fwd_wt103_v07.h5", "v0.7", "language_model", "_unk_", "fastai07"),
        ("lstm_wt103_v1.pth", "v1", "language_model", "xxunk", "fastai1"),
        ("lm_v2.pth", "v2", "language_model", "xxunk", "fastai1"),
        ("clas_v07.h5", "v0.7", "classifier", "_unk_", "fastai07"),
        ("clas_v1.pth", "v1", "classifier", "xxunk", "fastai1"),
        ("clas_v2.pth", "v2", "classifier", "xxunk", "fastai1"),
    ],
)
def test_there_and_back(tmp_path, name, generation, head, tokens, rules):
    model, config, summary = convert(name, tmp_path / "m")
    assert (config["head"], config["generation"]) == (head, generation)
    assert (config["direction"], config["tokenizer"]["rules"]) == ("forward", rules)
    itos = vocabulary_transfer.read_vocab(tmp_path / "m")
    assert len(itos) == summary["vocabulary"] == 60 and itos[0] == tokens
    assert summary["parameters"] == model.count_params() - (
        sum(norm.moving_mean.shape[0] * 2 for norm in model.head.norms)
        if head == "classifier"
        else 0
    )
    written = module.to_original(tmp_path / "m", tmp_path / "back")
    assert written["format"] == generation
    found = safetensors.read(tmp_path / "back" / "model.safetensors")
    original = state_dict(name)
    for key in [k for k in original if k.endswith("module.weight_hh_l0")]:
        # fastai 1 keeps its last dropped matrix there; the whole one is written.
        raw = key.replace("module.weight_hh_l0", "weight_hh_l0_raw")
        stale = not np.array_equal(original[key], original[raw])
        assert stale or head == "classifier"
        original[key] = original[raw]
    assert_equal(original, found)
    again = module.convert(tmp_path / "back", tmp_path / "again")
    assert again["format"] == generation
    assert model_dir.read_config(tmp_path / "again") == config
    assert_equal(weights_of(model), weights_of(tfdl.load(str(tmp_path / "again"))))


def test_between_generations(tmp_path):
    model = convert("clas_v07.h5", tmp_path / "m")[0]
    module.to_original(tmp_path / "m", tmp_path / "v1", format="v1")
    module.convert(tmp_path / "v1", tmp_path / "n")
    assert_equal(weights_of(model), weights_of(tfdl.load(str(tmp_path / "n"))))
    for source, target, said in (
        ("clas_v07.h5", "v2", "v2's classifier has no biases"),
        ("lm_v2.pth", "v0.7", "v0.7's decoder has no bias"),
        ("lm_v2.pth", "v3", "unknown format 'v3'"),
    ):
        convert(source, tmp_path / "x")
        with pytest.raises(errors.UserError) as caught:
            module.to_original(tmp_path / "x", tmp_path / "no", format=target)
        assert said in str(caught.value) and not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    "name, whole", [("encoder_v1.pth", "clas_v1.pth"), ("lm_enc_v07.h5", "clas_v07.h5")]
)
def test_encoder_alone(tmp_path, name, whole):
    model, config, summary = convert(name, tmp_path / "m")
    assert config["head"] == "language_model"
    expected = weights_of(convert(whole, tmp_path / "c")[0])
    for key, value in weights_of(model).items():
        if key == "decoder_bias":
            assert summary["random"] == ["decoder_bias"] and not np.any(value)
        else:
            np.testing.assert_array_equal(value, expected[key])


def test_wrapped_without_weight_drop_and_in_an_archive(tmp_path):
    """The forms that user files take."""
    expected = weights_of(convert("lm_v2.pth", tmp_path / "m")[0])
    # Without weight drop the matrix has its plain name.
    arrays = {
        key.replace("0.rnns.0.weight_hh_l0_raw", "0.rnns.0.module.weight_hh_l0"): value
        for key, value in state_dict("lm_v2.pth").items()
    }
    path = write(tmp_path / "bwd_plain.safetensors", arrays)
    summary = module.convert(path, tmp_path / "p")
    assert_equal(weights_of(tfdl.load(str(tmp_path / "p"))), expected)
    assert summary["direction"] == "backward" and summary["vocabulary"] is None
    archive = tmp_path / "wt103-fwd.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(golden("ulmfit", "lm_v2.pth"), "wt103-fwd/lstm_fwd.pth")
        tar.add(golden("ulmfit", "itos_wt103_v1.pkl"), "wt103-fwd/itos_wt103.pkl")
    summary = module.convert(archive, tmp_path / "t")
    assert summary["vocabulary"] == 60 and summary["direction"] == "forward"
    assert_equal(weights_of(tfdl.load(str(tmp_path / "t"))), expected)


def test_wrapper(tmp_path, monkeypatch):
    content = {"model": state_dict("lm_v2.pth"), "opt": {"hypers": [1]}}
    monkeypatch.setattr(torch_archive, "read", lambda *args, **kwargs: content)
    summary = module.convert(golden("ulmfit", "lm_v2.pth"), tmp_path / "m")
    assert summary["skipped"] == ["opt"]


def test_sizes_come_from_the_file(tmp_path):
    """Four layers, three classes, two hidden layers, unusual widths."""
    random = np.random.default_rng(0)
    widths = [3, 7, 7, 7, 3]
    arrays = {"0.module.encoder.weight": random.normal(size=(13, 3)).astype("f4")}
    for i, (inputs, units) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        prefix = f"0.module.rnns.{i}."
        shapes = {
            "weight_hh_l0_raw": (4 * units, units),
            "module.weight_ih_l0": (4 * units, inputs),
            "module.bias_ih_l0": (4 * units,),
            "module.bias_hh_l0": (4 * units,),
        }
        for name, shape in shapes.items():
            arrays[prefix + name] = random.normal(size=shape).astype("f4")
    # Without dropout in the first block numbers shift: found by what they are.
    for place, (inputs, units) in zip("037", ((9, 6), (6, 5), (5, 4)), strict=True):
        for name in ("weight", "bias", "running_mean", "running_var"):
            arrays[f"1.layers.{place}.{name}"] = np.ones(inputs, "f4")
        linear = int(place) + (1 if place == "0" else 2)
        arrays[f"1.layers.{linear}.weight"] = np.ones((units, inputs), "f4")
        arrays[f"1.layers.{linear}.bias"] = np.ones(units, "f4")
    path = write(tmp_path / "w.safetensors", arrays)
    module.convert(path, tmp_path / "m", labels=["a", "b", "c", "d"])
    config = model_dir.read_config(tmp_path / "m")
    assert config["encoder"]["num_layers"] == 4
    assert config["encoder"]["hidden_size"] == 7
    assert config["classifier"]["hidden"] == [6, 5]
    assert config["labels"] == ["a", "b", "c", "d"]


def test_one_vocabulary_of_several(tmp_path):
    """The one whose name goes with the weights', or none is guessed."""
    shutil.copy(golden("ulmfit", "lm_v2.pth"), tmp_path / "lm_bwd.pth")
    for name, last in (("itos_fwd.pkl", "a"), ("itos_bwd.pkl", "b")):
        tokens = ["xxunk", "xxpad", *map(str, range(57)), last]
        (tmp_path / name).write_bytes(pickle.dumps(tokens))
    module.convert(tmp_path / "lm_bwd.pth", tmp_path / "m")
    assert vocabulary_transfer.read_vocab(tmp_path / "m")[-1] == "b"
    (tmp_path / "lm_bwd.pth").rename(tmp_path / "lm.pth")
    with pytest.raises(errors.UserError, match="several vocabularies lie beside it"):
        module.convert(tmp_path / "lm.pth", tmp_path / "n")


def test_vocabulary_remap(tmp_path):
    model = convert("lm_v2.pth", tmp_path / "m")[0]
    arrays = load("io_vocab_remap.npz")
    old = sources.read_itos(golden("ulmfit", "itos_wt103_v1.pkl"))
    new = [str(token) for token in arrays["new_itos"]]
    embedding, bias = vocabulary_transfer.remap_encoder(
        model.encoder.embedding.numpy(), model.decoder_bias.numpy(), old, new
    )
    np.testing.assert_allclose(embedding, arrays["encoder"], rtol=0, atol=1e-7)
    np.testing.assert_allclose(bias, arrays["bias"], rtol=0, atol=1e-7)
    assert len(set(new) & set(old)) == arrays["n_found"]


def test_load_encoder(tmp_path):
    convert("lm_v2.pth", tmp_path / "lm")
    target = convert("clas_v1.pth", tmp_path / "c", **CHUNKS)[0]
    itos = vocabulary_transfer.read_vocab(tmp_path / "c")
    itos[20], itos[21] = "new", itos[20]
    missing = vocabulary_transfer.load_encoder(tmp_path / "lm", target, itos)
    source = tfdl.load(str(tmp_path / "lm")).encoder
    found = target.encoder.embedding.numpy()
    assert missing == 1
    np.testing.assert_array_equal(found[21], source.embedding[20])
    np.testing.assert_allclose(found[20], np.mean(source.embedding, 0), atol=1e-7)
    np.testing.assert_array_equal(target.encoder.rnns[2].kernel, source.rnns[2].kernel)


class Evil:
    """Runs a command when it is unpickled the ordinary way."""

    def __reduce__(self):
        return (print, ("run",))


def test_vocabularies(tmp_path, capsys):
    fine = tmp_path / "itos.pkl"
    fine.write_bytes(pickle.dumps(["a", "\n", "b"]))
    assert sources.read_itos(fine) == ["a", "\n", "b"]
    for value, said in (
        (Evil(), "refused"),
        ({"a": 0}, "a list of tokens is needed"),
        (["a", 3], "3 is not a token's text"),
        ([], "a list of tokens is needed"),
        (collections.Counter("abc"), "a list of tokens is needed"),
    ):
        fine.write_bytes(pickle.dumps(value))
        with pytest.raises(errors.UserError) as caught:
            sources.read_itos(fine)
        assert said in str(caught.value)
    assert "run" not in capsys.readouterr().out


def test_refusals(tmp_path):
    arrays = state_dict("lm_v2.pth")
    short = tmp_path / "short.pkl"
    short.write_bytes(pickle.dumps(["a", "b"]))
    untied = {**arrays, "1.decoder.weight": arrays["1.decoder.weight"] + 1}
    part = {k: v for k, v in arrays.items() if "rnns.1.module.bias_hh" not in k}
    nan = {**arrays, "1.decoder.bias": np.full(60, np.nan, "f4")}
    strange = {**arrays, "2.extra": np.zeros(3, "f4")}
    qrnn = {**arrays, "0.rnns.0.layers.0.linear.weight_raw": np.zeros((3, 2), "f4")}
    good = golden("ulmfit", "lm_v2.pth")
    folder = tmp_path / "several"
    folder.mkdir()
    for name in ("lm_v2.pth", "clas_v2.pth"):
        shutil.copy(golden("ulmfit", name), folder)
    cases = [
        (good, {"vocab": short}, "has 2 tokens, the embedding in"),
        (good, {"direction": "up"}, "unknown direction 'up'"),
        (good, {"speed": 3}, "unknown option of ulmfit's convert 'speed'"),
        (golden("ulmfit", "clas_v1.pth"), {"labels": ["a"]}, "1 labels for 3 classes"),
        (golden("ulmfit", "itos_wt103_v1.pkl"), {}, "not one of torch.save"),
        (folder, {}, "holds 2 files of weights"),
        (write(tmp_path / "a.safetensors", untied), {}, "differs from the embedding"),
        (write(tmp_path / "b.safetensors", part), {}, "1 missing"),
        (write(tmp_path / "c.safetensors", nan), {}, "with NaN or Inf (decoder_bias)"),
        (write(tmp_path / "d.safetensors", strange), {}, "1 unknown (2.extra)"),
        (write(tmp_path / "e.safetensors", qrnn), {}, "is a QRNN"),
        (write(tmp_path / "f.safetensors", {"w": np.ones(2)}), {}, "1 unknown (w)"),
    ]
    for source, options, said in cases:
        with pytest.raises(errors.UserError) as caught:
            module.convert(source, tmp_path / "no", **options)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value) and not (tmp_path / "no").exists()

"""Every layout of BERT's checkpoints converts to the same model, and back."""

import json
import shutil
import zipfile

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

import tfdl
from tests.helpers import golden
from tests.models.bert import checkpoints
from tests.models.bert.checkpoints import folder, hf_weights, tf1_weights, without
from tests.models.bert.tiny import close, inputs
from tfdl.checkpoints import safetensors, tf1
from tfdl.engine import model_dir
from tfdl.models.bert.convert import convert, to_original
from tfdl.models.bert.names import variable_names

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def io():
    return dict(np.load(golden("bert", "io_pretrain.npz")))


def weights(directory):
    named = variable_names(tfdl.load(directory))
    return {name: variable.numpy() for name, variable in named.items()}


def equal(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].tobytes() == np.ascontiguousarray(array).tobytes(), name


SOURCES = {
    "tf1": lambda path: golden("bert", "tf1"),
    "tf1 prefix": lambda path: golden("bert", "tf1") / "bert_model.ckpt",
    "safetensors": lambda path: golden("bert", "hf", "model.safetensors"),
    "torch stream": lambda path: golden("bert", "hf", "pytorch_model_legacy.bin"),
    "torch zip": lambda path: folder(path / "hf", "zip"),
    "sharded": lambda path: sharded(path / "hf"),
    "archive": lambda path: archive(path),
}


def sharded(path):
    folder(path, "safetensors")
    tensors = hf_weights()
    (path / "model.safetensors").unlink()
    places = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(tensors)}
    for file in set(places.values()):
        part = {name: tensors[name] for name in tensors if places[name] == file}
        safetensors.write(path / file, part)
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    return path


def archive(path):
    target = path / f"{checkpoints.NAME}.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        for source in sorted(golden("bert", "tf1").iterdir()):
            file.write(source, f"{checkpoints.NAME}/{source.name}")
    return target


@pytest.mark.parametrize("source", SOURCES)
def test_every_layout_gives_the_original_outputs(source, io, tmp_path):
    path = SOURCES[source](tmp_path)
    summary = convert(path, tmp_path / "model", do_lower_case=True)
    assert summary["head"] == "pretraining"
    assert summary["hidden_act"] == "gelu_tanh"
    assert summary["random"] == summary["dropped"] == []
    out = tfdl.load(tmp_path / "model")(inputs(io), all_layers=True)
    close(out["encoder_outputs"][0], io["out_embedding_output"])
    for i in range(3):
        close(out["encoder_outputs"][i + 1], io[f"out_layer_{i}"])
    close(out["pooled_output"], io["out_pooled_output"])
    at_masks = tf.gather(out["mlm_logits"], io["masked_lm_positions"], batch_dims=1)
    log_probs = tf.reshape(tf.nn.log_softmax(at_masks), [36, -1])
    close(log_probs, io["out_mlm_log_probs"])
    close(tf.nn.log_softmax(out["nsp_logits"]), io["out_nsp_log_probs"])
    equal(weights(tmp_path / "model"), tf1_weights())
    vocab = golden("bert", "tf1", "vocab.txt").read_bytes()
    assert (tmp_path / "model" / "assets" / "vocab.txt").read_bytes() == vocab


def test_gelu_means_tanh_in_tf1_and_erf_in_transformers(io, tmp_path):
    expected = np.load(golden("bert", "io_hf.npz"))
    source = folder(tmp_path / "hf", "safetensors", hidden_act="gelu")
    summary = convert(source, tmp_path / "erf", do_lower_case=True)
    assert summary["hidden_act"] == "gelu_erf"
    out = tfdl.load(tmp_path / "erf")(inputs(io))
    close(out["sequence_output"], expected["erf_last_hidden"])
    close(out["mlm_logits"][:, :2], expected["erf_prediction_logits"])
    close(out["nsp_logits"], expected["erf_seq_relationship_logits"])
    convert(source, tmp_path / "tanh", do_lower_case=True, hidden_act="gelu_tanh")
    out = tfdl.load(tmp_path / "tanh")(inputs(io))
    close(out["sequence_output"], io["out_sequence_output"])
    for given, act in (
        ("gelu_new", "gelu_tanh"),
        ("gelu_pytorch_tanh", "gelu_tanh"),
        ("gelu_erf", "gelu_erf"),
        ("relu", "relu"),
        ("silu", "swish"),
    ):
        summary = convert(source, tmp_path / "m", do_lower_case=True, hidden_act=given)
        assert summary["hidden_act"] == act


@pytest.mark.parametrize("format", ["tf1", "safetensors"])
def test_back_to_the_original_is_exact(format, tmp_path):
    convert(golden("bert", "tf1"), tmp_path / "model", do_lower_case=True)
    summary = to_original(tmp_path / "model", tmp_path / "back", format)
    assert summary == {"format": format, "head": "pretraining", "tensors": 62}
    vocab = golden("bert", "tf1", "vocab.txt").read_bytes()
    assert (tmp_path / "back" / "vocab.txt").read_bytes() == vocab
    if format == "tf1":
        equal(tf1.read(tmp_path / "back"), tf1_weights())
        shard = "bert_model.ckpt.data-00000-of-00001"
        original = golden("bert", "tf1", shard).read_bytes()
        assert (tmp_path / "back" / shard).read_bytes() == original
        config = json.loads((tmp_path / "back" / "bert_config.json").read_text())
        assert config == checkpoints.golden_config("tf1")
        latest = tf.train.latest_checkpoint(str(tmp_path / "back"))
        assert latest == str(tmp_path / "back" / "bert_model.ckpt")
    else:
        equal(safetensors.read(tmp_path / "back" / "model.safetensors"), hf_weights())
        config = json.loads((tmp_path / "back" / "config.json").read_text())
        original = checkpoints.golden_config("hf")
        assert {key: original[key] for key in config} == config
        tokenizer = json.loads(
            (tmp_path / "back" / "tokenizer_config.json").read_text()
        )
        assert tokenizer["do_lower_case"] is True
    convert(tmp_path / "back", tmp_path / "again", do_lower_case=True)
    equal(weights(tmp_path / "again"), tf1_weights())
    config = model_dir.read_config(tmp_path / "again")
    assert config == model_dir.read_config(tmp_path / "model")


def labelled(*names):
    return {"id2label": {str(i): name for i, name in enumerate(names)}}


CLASSIFIER = {
    "classifier.weight": RNG.normal(size=(3, 32)).astype("f4"),
    "classifier.bias": RNG.normal(size=3).astype("f4"),
}
ONE = {name: array[:1] for name, array in CLASSIFIER.items()}
SPANS = {
    "qa_outputs.weight": CLASSIFIER["classifier.weight"][:2],
    "qa_outputs.bias": CLASSIFIER["classifier.bias"][:2],
}
# architecture, changed configuration, its heads' weights, has pooler -> our head.
HEADS = {
    "BertModel": ({}, {}, True, "encoder"),
    "BertForSequenceClassification": (labelled("a", "b", "c"), CLASSIFIER, True, None),
    "BertForTokenClassification": (labelled("O", "B", "I"), CLASSIFIER, False, "ner"),
    "BertForQuestionAnswering": ({}, SPANS, False, "squad"),
    "BertForMultipleChoice": ({}, ONE, True, "swag"),
}


@pytest.mark.parametrize("architecture", HEADS)
def test_heads_of_transformers(architecture, tmp_path):
    config, head_weights, pooler, head = HEADS[architecture]
    head = head or "classification"
    encoder = without(hf_weights(), "cls.", *(() if pooler else ("bert.pooler",)))
    if head == "encoder":
        encoder = {name.removeprefix("bert."): encoder[name] for name in encoder}
        encoder["embeddings.position_ids"] = np.arange(64)[None]
    source = folder(
        tmp_path / "hf",
        "safetensors",
        encoder | head_weights,
        architectures=[architecture],
        **config,
    )
    summary = convert(source, tmp_path / "model", do_lower_case=True)
    assert summary["head"] == head
    missing = [] if pooler else ["bert/pooler/dense/kernel", "bert/pooler/dense/bias"]
    assert summary["random"] == missing
    found = model_dir.read_config(tmp_path / "model")
    labels = list(config.get("id2label", {}).values())
    assert found["head_config"] == ({"labels": labels} if labels else {})
    for name, array in weights(tmp_path / "model").items():
        if not name.startswith("bert/"):
            part = "weight" if name.endswith("weights") else "bias"
            np.testing.assert_array_equal(
                array,
                next(
                    value for key, value in head_weights.items() if key.endswith(part)
                ),
            )
    for format in ("safetensors", "tf1"):
        to_original(tmp_path / "model", tmp_path / format, format)
        again = tmp_path / f"{format}-again"
        options = {"head": head} if format == "tf1" else {}
        convert(tmp_path / format, again, do_lower_case=True, **options)
        equal(weights(again), weights(tmp_path / "model"))
    written = safetensors.read(tmp_path / "safetensors" / "model.safetensors")
    expected = {
        k: v for k, v in source_weights(source).items() if "position_ids" not in k
    }
    equal({name: written[name] for name in expected}, expected)
    config = json.loads((tmp_path / "safetensors" / "config.json").read_text())
    assert config["architectures"] == [architecture]
    if labels:
        assert list(config["id2label"].values()) == labels


def source_weights(path):
    return safetensors.read(path / "model.safetensors")


@pytest.mark.parametrize(
    "config, rows, head",
    [
        ({}, 1, "regression"),
        ({"problem_type": "multi_label_classification"}, 3, "multilabel"),
        ({"problem_type": "regression"}, 1, "regression"),
    ],
)
def test_kinds_of_sequence_classification(config, rows, head, tmp_path):
    tensors = without(hf_weights(), "cls.")
    tensors |= CLASSIFIER if rows == 3 else ONE
    name = ["BertForSequenceClassification"]
    source = folder(tmp_path / "a", "stream", tensors, architectures=name, **config)
    assert convert(source, tmp_path / "m", do_lower_case=True)["head"] == head
    to_original(tmp_path / "m", tmp_path / "back")
    assert convert(tmp_path / "back", tmp_path / "n")["head"] == head


def test_masked_lm_alone_starts_next_sentence_at_random(tmp_path):
    tensors = without(hf_weights(), "cls.seq_relationship", "bert.pooler")
    source = folder(tmp_path / "hf", "zip", tensors, architectures=["BertForMaskedLM"])
    summary = convert(source, tmp_path / "m", do_lower_case=True)
    assert summary["head"] == "pretraining"
    assert summary["random"] == [
        "bert/pooler/dense/kernel",
        "bert/pooler/dense/bias",
        "cls/seq_relationship/output_weights",
        "cls/seq_relationship/output_bias",
    ]


def test_fine_tuned_original_with_slots(tmp_path):
    """run_classifier.py writes model.ckpt-N; vocabulary and sizes lie elsewhere."""
    arrays = without(tf1_weights(), "cls/")
    arrays |= {
        "output_weights": CLASSIFIER["classifier.weight"],
        "output_bias": CLASSIFIER["classifier.bias"],
    }
    slots = {f"{name}/adam_m": array for name, array in arrays.items()}
    slots |= {f"{name}/adam_v": array for name, array in arrays.items()}
    slots["global_step"] = np.int64(123)
    for step in (100, 123):
        tf1.write(tmp_path / "out" / f"model.ckpt-{step}", arrays | slots)
    (tmp_path / "out" / "checkpoint").write_text(
        'model_checkpoint_path: "model.ckpt-123"\n'
    )
    options = {
        "vocab": golden("bert", "tf1", "vocab.txt"),
        "config": golden("bert", "tf1", "bert_config.json"),
        "labels": ["contradiction", "entailment", "neutral"],
        "do_lower_case": True,
    }
    for source in (tmp_path / "out", tmp_path / "out" / "model.ckpt-100"):
        summary = convert(source, tmp_path / "m", **options)
        assert summary["head"] == "classification"
        assert summary["skipped"] == sorted(slots)
        equal(weights(tmp_path / "m"), arrays)
    config = model_dir.read_config(tmp_path / "m")
    assert config["head_config"] == {"labels": options["labels"]}
    to_original(tmp_path / "m", tmp_path / "back", "tf1")
    equal(tf1.read(tmp_path / "back"), arrays)


def test_squad_original(io, tmp_path):
    squad = np.load(golden("bert", "io_squad_head.npz"))
    arrays = without(tf1_weights(), "cls/")
    for name in ("output_weights", "output_bias"):
        arrays[f"cls/squad/{name}"] = squad[name]
    source = folder(tmp_path / "tf1", "tf1", arrays)
    assert convert(source, tmp_path / "m", do_lower_case=True)["head"] == "squad"
    features = inputs(squad if "input_ids" in squad.files else io)
    out = tfdl.load(tmp_path / "m")(features)
    close(out["start_logits"], squad["start_logits"])
    close(out["end_logits"], squad["end_logits"])


def test_another_head_is_random_and_the_old_one_dropped(tmp_path):
    summary = convert(
        golden("bert", "tf1"),
        tmp_path / "m",
        head="classification",
        labels=["no", "yes"],
        do_lower_case=True,
    )
    assert summary["random"] == ["output_weights", "output_bias"]
    assert len(summary["dropped"]) == 7
    expected = without(tf1_weights(), "cls/")
    found = weights(tmp_path / "m")
    equal({name: found[name] for name in expected}, expected)
    assert found["output_weights"].shape == (2, 32)


def test_tied_copies_may_be_there_if_equal(tmp_path):
    tensors = hf_weights()
    tensors["cls.predictions.decoder.weight"] = tensors[
        "bert.embeddings.word_embeddings.weight"
    ]
    tensors["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"]
    summary = convert(
        folder(tmp_path / "hf", "zip", tensors), tmp_path / "m", do_lower_case=True
    )
    assert len(summary["skipped"]) == 2
    equal(weights(tmp_path / "m"), tf1_weights())


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_files_become_float32(dtype, tmp_path):
    tensors = {name: array.astype(dtype) for name, array in hf_weights().items()}
    source = folder(tmp_path / "hf", "safetensors", tensors)
    convert(source, tmp_path / "m", do_lower_case=True)
    found = weights(tmp_path / "m")["bert/embeddings/word_embeddings"]
    expected = tensors["bert.embeddings.word_embeddings.weight"].astype("f4")
    np.testing.assert_array_equal(found, expected)


def test_sizes_come_from_the_tensors(tmp_path):
    """A configuration may lack every size but the number of heads."""
    sizes = (
        "vocab_size hidden_size num_hidden_layers intermediate_size "
        "max_position_embeddings type_vocab_size"
    ).split()
    extra = {"directionality": "bidi", "pooler_type": "first_token_transform"}
    source = folder(tmp_path / "a", "tf1", **dict.fromkeys(sizes), **extra)
    convert(source, tmp_path / "m", do_lower_case=True, max_seq_length=48)
    config = model_dir.read_config(tmp_path / "m")
    expected = checkpoints.golden_config("tf1")
    assert {size: config["encoder"][size] for size in sizes} == {
        size: expected[size] for size in sizes
    }
    assert config["max_seq_length"] == 48


@pytest.mark.parametrize(
    "name, tokenizer, given, lower, warned",
    [
        ("uncased_L-3_H-32_A-4", None, None, True, False),
        ("cased_L-3_H-32_A-4", None, None, False, False),
        ("multi_cased_L-12_H-768_A-12", None, None, False, False),
        ("chinese_L-12_H-768_A-12", None, None, True, False),
        ("model", {"do_lower_case": False}, None, False, False),
        ("bert-base-uncased", {"do_lower_case": False}, None, False, True),
        ("uncased_L-3_H-32_A-4", None, False, False, True),
        ("model", {"do_lower_case": False}, True, True, True),
        ("model", None, False, False, False),
        ("model", None, None, True, True),
    ],
)
def test_casing(name, tokenizer, given, lower, warned, tmp_path, caplog):
    source = folder(tmp_path / name, "safetensors")
    if tokenizer is not None:
        (source / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    summary = convert(source, tmp_path / "m", do_lower_case=given)
    assert summary["do_lower_case"] is lower
    config = model_dir.read_config(tmp_path / "m")
    assert config["tokenizer"] == {"do_lower_case": lower, "vocab": "vocab.txt"}
    assert ("do_lower_case" in caplog.text) == warned


def test_vocabulary_from_tokenizer_json(tmp_path, caplog):
    source = folder(tmp_path / "hf", "safetensors")
    (source / "vocab.txt").unlink()
    tokens = golden("bert", "hf", "vocab.txt").read_text().splitlines()
    content = {
        "normalizer": {"type": "BertNormalizer", "lowercase": False},
        "model": {"type": "WordPiece", "vocab": {t: i for i, t in enumerate(tokens)}},
    }
    (source / "tokenizer.json").write_text(json.dumps(content))
    summary = convert(source, tmp_path / "m")
    assert summary["do_lower_case"] is False
    vocab = golden("bert", "tf1", "vocab.txt").read_text()
    assert (
        tmp_path / "m" / "assets" / "vocab.txt"
    ).read_text().split() == vocab.split()
    content["normalizer"] |= {"strip_accents": True, "handle_chinese_chars": False}
    (source / "tokenizer.json").write_text(json.dumps(content))
    convert(source, tmp_path / "m")
    assert "strip_accents" in caplog.text
    assert "tokenize_chinese_chars" in caplog.text


def test_rows_beyond_the_vocabulary_are_padding(tmp_path, caplog):
    source = folder(tmp_path / "tf1", "tf1")
    tokens = (source / "vocab.txt").read_text().splitlines()
    (source / "vocab.txt").write_text("\n".join(tokens[:-6]) + "\n")
    convert(source, tmp_path / "m", do_lower_case=True)
    assert "6 rows more" in caplog.text


def test_output_never_replaces_the_source(tmp_path):
    source = folder(tmp_path / "a" / "tf1", "tf1")
    before = sorted(path.name for path in source.iterdir())
    for output in (source, source.parent, tmp_path):
        with pytest.raises(tfdl.engine.errors.UserError, match="would replace"):
            convert(source, output, do_lower_case=True)
    assert sorted(path.name for path in source.iterdir()) == before
    convert(source, tmp_path / "m", do_lower_case=True)
    with pytest.raises(tfdl.engine.errors.UserError, match="would replace"):
        to_original(tmp_path / "m", tmp_path / "m")


def test_a_model_directory_is_replaced_whole(tmp_path):
    convert(golden("bert", "tf1"), tmp_path / "m", do_lower_case=True)
    (tmp_path / "m" / "old").write_text("")
    shutil.rmtree(tmp_path / "m" / "assets")
    convert(golden("bert", "tf1"), tmp_path / "m", do_lower_case=True)
    found = sorted(path.name for path in (tmp_path / "m").iterdir())
    assert found == ["assets", "config.json", "model.weights.h5"]

"""Damaged, hostile and unfitting checkpoints: one line, and nothing written."""

import json
import os
import shutil
import struct
import zipfile

import numpy as np
import pytest

from tests.checkpoints import pickles
from tests.checkpoints.pickles import call, value
from tests.helpers import golden
from tests.models.bert.checkpoints import folder, hf_weights, tf1_weights, without
from tfdl.checkpoints import tf1
from tfdl.engine.errors import UserError
from tfdl.models.bert.convert import convert, to_original

WORD = "bert.embeddings.word_embeddings.weight"
SHARD = "bert_model.ckpt.data-00000-of-00001"


def refuse(source, told, tmp_path, **options):
    """Asserts that converting fails in one line and leaves nothing behind."""
    output = tmp_path / "output" / "model"
    output.parent.mkdir(exist_ok=True)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(UserError, match=told) as caught:
        convert(source, output, **{"do_lower_case": True, **options})
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000
    assert os.listdir(output.parent) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


DAMAGE = {
    "tf1 data truncated": ("tf1", lambda p: cut(p / SHARD, 9000), f"of {SHARD}, which"),
    "tf1 data missing": ("tf1", lambda p: (p / SHARD).unlink(), f"{SHARD}: no such"),
    "tf1 index truncated": (
        "tf1",
        lambda p: cut(p / "bert_model.ckpt.index", 900),
        "index is truncated",
    ),
    "safetensors truncated": (
        "safetensors",
        lambda p: cut(p / "model.safetensors", 9000),
        r"model\.safetensors is truncated",
    ),
    "torch stream truncated": (
        "stream",
        lambda p: cut(p / "pytorch_model.bin", 90_000),
        r"pytorch_model\.bin: damaged.*truncated",
    ),
    "torch zip truncated": (
        "zip",
        lambda p: cut(p / "pytorch_model.bin", 90_000),
        r"pytorch_model\.bin is truncated or damaged",
    ),
    "no weights": (
        "safetensors",
        lambda p: (p / "model.safetensors").unlink(),
        "holds no BERT checkpoint",
    ),
    "no configuration": (
        "tf1",
        lambda p: (p / "bert_config.json").unlink(),
        r"bert_config\.json is missing; give its place with the option `config`",
    ),
    "no vocabulary": (
        "tf1",
        lambda p: (p / "vocab.txt").unlink(),
        r"vocab\.txt is missing; give its place with the option `vocab`",
    ),
    "configuration no JSON": (
        "tf1",
        lambda p: (p / "bert_config.json").write_text("{\n 'a': 1}"),
        r"bert_config\.json:2:",
    ),
    "configuration nested": (
        "tf1",
        lambda p: (p / "bert_config.json").write_text('{"a":' + "[" * 100_000),
        "not plausible JSON",
    ),
    "configuration a list": (
        "tf1",
        lambda p: (p / "bert_config.json").write_text("[1]"),
        "a JSON object is needed",
    ),
    "vocabulary no text": (
        "tf1",
        lambda p: (p / "vocab.txt").write_bytes(b"[UNK]\n\xff\xfe"),
        r"vocab\.txt:2: not valid UTF-8",
    ),
    "vocabulary too short": (
        "tf1",
        lambda p: (p / "vocab.txt").write_text("[UNK]\na\n"),
        "has 2 tokens, the word embedding 782 rows",
    ),
    "vocabulary too long": (
        "tf1",
        lambda p: (p / "vocab.txt").write_text("[UNK]\n" + "a\n" * 782),
        "has 783 tokens, the word embedding 782 rows",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_files(case, tmp_path):
    kind, damage, told = DAMAGE[case]
    source = folder(tmp_path / "source", kind)
    damage(source)
    refuse(source, told, tmp_path)


def changed(**arrays):
    tensors = hf_weights()
    for name, array in arrays.items():
        name = name.replace("__", ".")
        if array is None:
            del tensors[name]
        else:
            tensors[name] = array
    return tensors


LAYER = "bert__encoder__layer__1__output__dense"
WEIGHTS = {
    "missing": ({f"{LAYER}__bias": None}, r"1 missing \(bert/encoder/layer_1/output"),
    "unexpected": ({"bert__extra__weight": np.zeros(3, "f4")}, "1 unexpected"),
    "unknown head": ({"lm_head__weight": np.zeros(3, "f4")}, "1 unexpected .lm_head"),
    "shape": (
        {f"{LAYER}__weight": np.zeros((64, 32), "f4")},
        r"layer_1/output/dense/kernel \[32, 64\] instead of \[64, 32\]",
    ),
    "several": (
        {f"{LAYER}__bias": None, f"{LAYER}__weight": np.zeros(3, "f4")},
        "1 missing .*; 1 misfitting",
    ),
    "half a head": ({"cls__seq_relationship__bias": None}, "1 missing .cls/seq_rel"),
    "half a pooler": ({"bert__pooler__dense__bias": None}, "1 missing .bert/pooler"),
    "layer gap": (
        {"bert__encoder__layer__9__output__dense__bias": np.zeros(32, "f4")},
        "lacks encoder layer 3",
    ),
    "too many layers": (
        {"bert__encoder__layer__99999999__output__dense__bias": np.zeros(32, "f4")},
        "1 unexpected",
    ),
    "twice": ({"bert__pooler__dense__gamma": np.zeros(3, "f4")}, "unexpected"),
    "both names": (
        {"bert__embeddings__LayerNorm__gamma": np.zeros(32, "f4")},
        "1 unexpected .bert.embeddings.LayerNorm.gamma",
    ),
    "no embeddings": ({WORD.replace(".", "__"): None}, "lacks 'bert/embeddings/word"),
    "flat embeddings": (
        {WORD.replace(".", "__"): np.zeros(782 * 32, "f4")},
        r"word_embeddings' has shape \[25024\]",
    ),
    "texts": (
        {f"{LAYER}__bias": np.zeros(32, "?")},
        "of dtype bool",
    ),
    "untied decoder": (
        {"cls__predictions__decoder__weight": np.zeros((782, 32), "f4")},
        "decoder.weight differs from bert/embeddings/word_embeddings",
    ),
    "untied bias": (
        {"cls__predictions__decoder__bias": np.ones(782, "f4")},
        "decoder.bias differs",
    ),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_that_do_not_fit(case, tmp_path):
    arrays, told = WEIGHTS[case]
    source = folder(tmp_path / "source", "safetensors", changed(**arrays))
    refuse(source, told, tmp_path)


def test_sizes_that_ask_for_far_more_than_the_file_holds(tmp_path):
    huge = changed(**{WORD.replace(".", "__"): np.zeros((1, 200_000), "f4")})
    config = {"vocab_size": None, "hidden_size": None}
    source = folder(tmp_path / "source", "safetensors", huge, **config)
    refuse(source, "most of the model is missing", tmp_path)


@pytest.mark.parametrize(
    "config, told",
    [
        ({"hidden_size": 64}, "says hidden_size 64, the weights 32"),
        ({"vocab_size": 30522}, "says vocab_size 30522, the weights 782"),
        ({"num_hidden_layers": 2}, "says num_hidden_layers 2, the weights 3"),
        ({"num_attention_heads": None}, "lacks num_attention_heads"),
        ({"num_attention_heads": 5}, "not a multiple"),
        ({"num_attention_heads": "4"}, "positive integer"),
        (
            {"hidden_dropout_prob": "a"},
            "model.safetensors: .*hidden_dropout_prob has to be",
        ),
        ({"layer_norm_eps": -1}, "layer_norm_eps has to be"),
        ({"hidden_act": "mish"}, "unknown hidden_act 'mish'"),
        ({"hidden_act": ["gelu"]}, "unknown hidden_act"),
        ({"model_type": "roberta"}, "is a 'roberta' model"),
        ({"architectures": ["RobertaModel"]}, "'RobertaModel' is not one of BERT's"),
        ({"position_embedding_type": "relative_key"}, "'relative_key' position"),
        ({"is_decoder": True}, "is a decoder"),
    ],
)
def test_configurations_that_do_not_fit(config, told, tmp_path):
    refuse(folder(tmp_path / "source", "safetensors", **config), told, tmp_path)


@pytest.mark.parametrize(
    "options, told",
    [
        ({"head": "clasification"}, "did you mean 'classification'"),
        ({"head": "classification"}, "needs labels"),
        ({"labels": ["a"]}, "has none"),
        ({"hidden_act": "gelu2"}, "unknown hidden_act"),
        ({"max_seq_length": 65}, "not between 3 and 64"),
        ({"do_lower_case": "no"}, "not true or false"),
        ({"vocab": "/no/such/file"}, "no such file"),
        ({"verbose": True}, "unknown option"),
    ],
)
def test_options_that_do_not_fit(options, told, tmp_path):
    refuse(golden("bert", "tf1"), told, tmp_path, **options)


def test_labels_that_do_not_fit(tmp_path):
    classifier = {
        "classifier.weight": np.zeros((3, 32), "f4"),
        "classifier.bias": np.zeros(3, "f4"),
    }
    tensors = without(hf_weights(), "cls.") | classifier
    name = {"architectures": ["BertForSequenceClassification"]}
    source = folder(tmp_path / "source", "safetensors", tensors, **name)
    refuse(
        source, "2 labels are named, the weights have 3", tmp_path, labels=["a", "b"]
    )
    refuse(source, "the same name", tmp_path, labels=["a", "b", "a"])
    gaps = {"id2label": {"0": "a", "1": "b", "7": "c"}}
    source = folder(tmp_path / "gaps", "safetensors", tensors, **name, **gaps)
    refuse(source, "id2label leave gaps", tmp_path)


@pytest.mark.parametrize("legacy", [True, False])
def test_pickled_code_is_refused_and_not_run(legacy, tmp_path):
    mark = tmp_path / "source" / "ran"
    source = folder(tmp_path / "source", "zip")
    path = source / "pytorch_model.bin"
    body = value({"w": call("os", "system", f"touch {mark}")})
    if legacy:
        path.write_bytes(pickles.stream(body, {}))
    else:
        pickles.write_zip(path, body, {})
    refuse(source, "asks for 'os.system'.*nothing of it was run", tmp_path)
    assert not mark.exists()


def test_object_based_checkpoints_are_told(tmp_path):
    extra = {tf1.OBJECT_GRAPH: np.array(b"graph", object)}
    source = folder(tmp_path / "source", "tf1", tf1_weights() | extra)
    refuse(source, "attribute path", tmp_path)


def test_unknown_variables_of_the_original_are_unexpected(tmp_path):
    arrays = tf1_weights() | {"bert/extra": np.zeros(3, "f4"), "other": np.zeros(1)}
    source = folder(tmp_path / "source", "tf1", arrays)
    refuse(source, r"2 unexpected \(bert/extra, other\)", tmp_path)


# --- archives --------------------------------------------------------------------


def zipped(path, extra=()):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for source in sorted(golden("bert", "tf1").iterdir()):
            archive.write(source, f"uncased_L-3/{source.name}")
        for name, data in extra:
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "..\\evil"])
def test_archives_that_leave_their_folder(name, tmp_path):
    refuse(zipped(tmp_path / "a.zip", [(name, "x")]), "leads out", tmp_path)
    assert not os.path.exists("/tmp/evil")


def test_archives_that_are_bombs(tmp_path):
    bomb = zipped(tmp_path / "a.zip", [("uncased_L-3/x", b"\0" * (64 << 20))])
    refuse(bomb, "decompression bomb", tmp_path)


def test_archives_that_claim_too_much(tmp_path):
    path = zipped(tmp_path / "a.zip")
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 20 : at + 28] = struct.pack("<II", 0xFFFFFFF0, 0xFFFFFFF0)
    path.write_bytes(data)
    refuse(path, "overlap|damaged|limit", tmp_path)


def test_truncated_and_empty_archives(tmp_path):
    path = zipped(tmp_path / "a.zip")
    cut(path, 90_000)
    refuse(path, "truncated or damaged", tmp_path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    refuse(path, r"holds no bert_config\.json", tmp_path)
    path.write_bytes(b"<!DOCTYPE html>" + b" " * 600)
    refuse(path, "it is an HTML page: the download failed", tmp_path)


def test_no_such_source(tmp_path):
    refuse(tmp_path / "nothing", "no such checkpoint", tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    refuse(tmp_path / "notes.txt", "is no checkpoint: it is of no known", tmp_path)
    (tmp_path / "empty").mkdir()
    refuse(tmp_path / "empty", "holds no BERT checkpoint", tmp_path)


# --- the way back ----------------------------------------------------------------


def test_to_original_refuses(tmp_path):
    convert(golden("bert", "tf1"), tmp_path / "m", do_lower_case=True)
    with pytest.raises(UserError, match="unknown format 'tf2'"):
        to_original(tmp_path / "m", tmp_path / "back", "tf2")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    shutil.copytree(tmp_path / "m", tmp_path / "n")
    config["head"] = "ner_features"
    (tmp_path / "n" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="no original format"):
        to_original(tmp_path / "n", tmp_path / "back")
    assert not (tmp_path / "back").exists()

"""A published BERT: hub.load in processes that do not know tfdl.

Takes over 20 s: every reader is a process of its own that starts TensorFlow and traces
an encoder in both modes.
"""

import json
import re

import numpy as np
import pytest
import tensorflow as tf

import tfdl
from tests.helpers import run_python
from tests.hub.fresh import run_verb, run_without_tfdl, running, static_server
from tests.models.bert.tiny import close, save
from tfdl import export as export_verb
from tfdl.engine import model_dir
from tfdl.hub import archives
from tfdl.hub.server import Server
from tfdl.text.vocab import load_vocab
from tfdl.text.wordpiece import BertTokenizer

TEXTS = ["The quick brown fox", "hello, world! " * 40, ""]
PAIRS = [["the lazy dog jumps over it all", "fox"], ["hello", "the quick brown fox"]]
METRICS = {"masked_lm_accuracy": 0.125}


def publish(capsys, *arguments):
    """Runs the verb; returns its records."""
    assert run_verb(*arguments) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert") / "model"
    save(folder, "pretraining")
    config = json.loads((folder / "config.json").read_text())
    config["encoder"]["hidden_dropout_prob"] = 0.1
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evaluation.json").write_text(json.dumps(METRICS))
    return folder


@pytest.fixture(scope="module")
def registry(model):
    root = model.parent / "modules"
    code = run_verb(
        f"--model_dir={model}",
        "--handle=me/bert/1",
        f"--destination=folder:{root}",
        "--language=en",
        "--license=apache-2.0",
        "--base_url=https://models.example.com/",
    )
    assert code == 0
    return root


def test_files_and_pages(registry, model):
    found = {p.relative_to(registry).as_posix() for p in registry.rglob("*")}
    assert found == {"me", "me/bert", "me/bert-preprocess"} | {
        f"me/{name}/1{end}"
        for name in ("bert", "bert-preprocess")
        for end in ("", ".tar.gz", ".md")
    }
    page = (registry / "me/bert/1.md").read_text()
    assert page.startswith("# Module me/bert/1\n\nBERT, ")
    tags = dict(re.findall("<!-- ([a-z-]+): (.+) -->", page))
    assert tags == {
        "asset-path": "https://models.example.com/me/bert/1.tar.gz",
        "task": "text-embedding",
        "fine-tunable": "true",
        "format": "saved_model_2",
        "network-architecture": "bert",
        "language": "en",
        "license": "apache-2.0",
    }
    assert "| masked_lm_accuracy | 0.125 |" in page
    assert "https://models.example.com/me/bert-preprocess/1" in page
    count = sum(
        int(np.prod(v.shape)) for v in tfdl.load(str(model)).encoder.trainable_variables
    )
    assert f"{count:,} parameters" in page and "`module.mlm`" in page
    preprocess = (registry / "me/bert-preprocess/1.md").read_text()
    assert "<!-- fine-tunable: false -->" in preprocess
    assert "masked_lm_accuracy" not in preprocess and "Fine-tuning" not in preprocess
    for text in (page, preprocess):
        assert "{" not in re.sub(r"\{\*\*inputs, .*\}", "", text)


def test_used_from_a_static_server(registry, model, tmp_path):
    with static_server(registry) as address:
        out = run_without_tfdl(
            "tests/hub/consumer.py",
            f"{address}/me/bert/1",
            f"{address}/me/bert-preprocess/1",
            cache=tmp_path,
            text=json.dumps({"texts": TEXTS, "pairs": PAIRS}),
        )
    found = json.loads(out)
    assert not found["tfdl"]

    tokenizer = BertTokenizer(load_vocab(model_dir.asset(model, "vocab.txt")), True)
    for i, text in enumerate(TEXTS):
        ids = [tokenizer.cls_id, *tokenizer.encode(text)[:62], tokenizer.sep_id]
        rest = [0] * (64 - len(ids))
        assert found["inputs"]["input_word_ids"][i] == ids + rest
        assert found["inputs"]["input_mask"][i] == [1] * len(ids) + rest
    pair = found["pair"]
    kept = [tokenizer.encode(PAIRS[0][0]), tokenizer.encode(PAIRS[1][0])]
    ids = [tokenizer.cls_id, *kept[0][: 9 - len(kept[1])], tokenizer.sep_id]
    ids += [*kept[1], tokenizer.sep_id]
    assert pair["input_word_ids"][0] == ids and len(ids) == 12
    assert pair["input_type_ids"][0] == [0] * (11 - len(kept[1])) + [1] * (
        len(kept[1]) + 1
    )
    assert np.shape(found["default_pair"]["input_word_ids"]) == (2, 64)

    inputs = {
        "token_ids": tf.constant(pair["input_word_ids"]),
        "segment_ids": tf.constant(pair["input_type_ids"]),
        "padding_mask": tf.constant(pair["input_mask"]),
    }
    expected = tfdl.load(str(model))(
        {**inputs, "masked_positions": tf.constant(found["positions"])},
        all_layers=True,
    )
    outputs = found["outputs"]
    assert set(outputs) == {
        "default",
        "pooled_output",
        "sequence_output",
        "encoder_outputs",
    }
    close(outputs["default"], expected["pooled_output"])
    close(outputs["pooled_output"], expected["pooled_output"])
    close(outputs["sequence_output"], expected["sequence_output"])
    assert len(outputs["encoder_outputs"]) == len(expected["encoder_outputs"]) - 1
    for layer, wanted in zip(
        outputs["encoder_outputs"], expected["encoder_outputs"][1:], strict=True
    ):
        close(layer, wanted)
    close(found["mlm_logits"], expected["mlm_logits"])

    assert found["random"] == [True, False]
    assert found["no_gradient"] == found["unmoved"] == []
    assert found["losses"][1] < found["losses"][0]
    # The transform, its normalisation and the output bias are the language model's.
    assert found["trainable"][1] == found["trainable"][0] + 5


def test_example_of_fine_tuning(registry, tmp_path):
    with running(Server(registry)) as server:
        out = run_without_tfdl(
            "examples/fine_tune_module.py",
            f"{server.address}/me/bert/1",
            cache=tmp_path,
        )
    lines = out.splitlines()
    assert lines[-1] == "after: accuracy 1.00"
    losses = [float(line.split()[-1]) for line in lines if line.startswith("step")]
    assert losses[-1] < 0.5 * losses[0]


def test_published_versions_stay(registry, model, capsys):
    before = archives.sha256(registry / "me/bert/1")
    flags = [f"--model_dir={model}", f"--destination=folder:{registry}"]
    assert run_verb(*flags, "--handle=me/bert/1") == 1
    error = capsys.readouterr().err
    assert "never changes" in error and "next version is 2" in error
    assert archives.sha256(registry / "me/bert/1") == before


def test_an_export_is_a_module(model, tmp_path, capsys):
    export_verb.main(["export", f"--model_dir={model}", f"--output={tmp_path / 'b'}"])
    capsys.readouterr()
    flags = [f"--destination=folder:{tmp_path / 'r'}", "--handle=me/embed/3"]
    base = tmp_path / "b"
    assert run_verb(*flags, f"--saved_model={base}") == 1
    assert f"did you mean {base / '1'}?" in capsys.readouterr().err

    flags.append(f"--saved_model={base / '1'}")
    # In a process that has not seen tensorflow-text yet.
    done = run_python("-m", "tfdl.publish", *flags, "--dry_run")
    assert done.returncode == 0, done.stderr
    assert "oneDNN" not in done.stderr and "Traceback" not in done.stderr
    dry = json.loads(done.stdout)
    assert not (tmp_path / "r").exists()
    (record,) = publish(capsys, *flags)
    assert record == dry
    page = tmp_path / "r/me/embed/3.md"
    assert "| masked_lm_accuracy | 0.125 |" in page.read_text()
    assert "import tensorflow_text" in page.read_text()
    # The same archive again: the page may change, the module stays.
    (again,) = publish(capsys, *flags, "--summary=Better words.")
    assert again["sha256"] == record["sha256"]
    assert "\nBetter words.\n" in page.read_text()

    # A module's archive can be published elsewhere.
    (copy,) = publish(
        capsys,
        f"--saved_model={record['download']}",
        "--handle=you/embed/1",
        f"--destination=folder:{tmp_path / 'mirror'}",
    )
    assert copy["sha256"] == record["sha256"]
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    archives.unpack(copy["archive"], unpacked)
    loaded = tf.saved_model.load(str(unpacked))
    assert loaded(tf.constant(["the fox"])).shape == (1, 32)

"""Pretraining records through the verb, and training from them."""

import json
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import golden
from tfdl import prepare as prepare_verb
from tfdl import train as train_verb
from tfdl.data import records
from tfdl.models.bert import pretraining_records


def prepare(capsys, *flags):
    """Runs the verb; returns (exit code, summary or None, stderr)."""
    code = prepare_verb.main(["prepare", "--model=bert", *flags])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out.strip() else None, err


def common(tmp_path):
    """Returns flags that make the golden instances."""
    return [
        f"--input={golden('bert', 'pretrain_corpus.txt')}",
        f"--output={tmp_path / 'out'}",
        f"--config.vocab={golden('bert', 'tf1', 'vocab.txt')}",
        "--config.max_seq_length=40",
        "--config.max_predictions_per_seq=6",
        "--config.dupe_factor=2",
    ]


def test_records_equal_the_original(tmp_path, capsys):
    code, summary, err = prepare(capsys, *common(tmp_path))
    assert code == 0, err
    ours = records.Records(str(tmp_path / "out" / "*.tfrecord"))
    theirs = records.Records(str(golden("bert", "pretrain.tfrecord")))
    assert len(ours) == len(theirs) == summary["instances"]
    every = range(len(ours))
    for mine, want in zip(ours.read(every), theirs.read(every), strict=True):
        assert tf.train.Example.FromString(mine) == tf.train.Example.FromString(want)


def test_finished_shards_are_kept_and_workers_do_not_matter(tmp_path, capsys):
    corpus = golden("bert", "pretrain_corpus.txt").read_text()
    for i in range(3):
        (tmp_path / f"{i}.txt").write_text(corpus)
    flags = [*common(tmp_path), f"--input={tmp_path / '*.txt'}", "--config.shards=3"]
    code, first, err = prepare(capsys, *flags, "--config.workers=2")
    assert code == 0, err
    assert first["shards"] == 3 and first["kept"] == 0
    files = sorted((tmp_path / "out").glob("*.tfrecord"))
    before = [path.read_bytes() for path in files]
    files[1].unlink()
    code, again, _ = prepare(capsys, *flags, "--config.workers=1")
    assert code == 0 and again["kept"] == 2
    assert again["instances"] == first["instances"]
    assert [path.read_bytes() for path in files] == before
    assert len({bytes(data) for data in before}) == 3


def test_batches_have_our_names(tmp_path):
    source = records.Records(str(golden("bert", "pretrain.tfrecord")))
    serialized = source.gather(tf.constant([3, 0], tf.int64))
    batch = pretraining_records.parse(serialized, 40, 6)
    assert batch["token_ids"].shape == (2, 40)
    assert batch["masked_weights"].dtype == tf.float32
    assert np.all(batch["next_sentence_labels"].numpy() < 2)


def test_training_from_records_and_mistakes(tmp_path, capsys):
    flags = [
        "--model=bert",
        "--recipe=pretrain",
        f"--workdir={tmp_path / 'run'}",
        f"--config.vocab={golden('bert', 'tf1', 'vocab.txt')}",
        f"--config.data=tfrecord:{golden('bert', 'pretrain.tfrecord')}",
        f"--config.eval_data=tfrecord:{golden('bert', 'pretrain.tfrecord')}",
        "--config.encoder.hidden_size=16",
        "--config.encoder.num_hidden_layers=1",
        "--config.encoder.num_attention_heads=2",
        "--config.encoder.intermediate_size=32",
        "--config.optimizer.warmup_steps=2",
    ]
    for phase in ("128", "512"):
        flags += [
            f"--config.phases.{phase}.steps=4",
            f"--config.phases.{phase}.batch_size=8",
            f"--config.phases.{phase}.max_predictions_per_seq=6",
        ]
    code = train_verb.main(["train", *flags])
    assert code == 1
    assert "input_ids has 40 entries, max_seq_length is 128" in capsys.readouterr().err
    flags += [f"--config.phases.{p}.max_seq_length=40" for p in ("128", "512")]
    flags.append("--config.dynamic_masking=true")
    code = train_verb.main(["train", *flags, "--on_config_change=restart"])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert json.loads(out.splitlines()[-1])["masked_lm_loss"] > 0
    cut = tmp_path / "cut.tfrecord"
    cut.write_bytes(golden("bert", "pretrain.tfrecord").read_bytes()[:-7])
    code = train_verb.main(
        ["train", *flags, f"--config.data=tfrecord:{cut}", "--on_config_change=restart"]
    )
    assert code == 1
    assert "cut.tfrecord: record 28" in capsys.readouterr().err


def test_mistakes(tmp_path, capsys):
    flags = common(tmp_path)
    code, _, err = prepare(capsys, *flags, f"--input={tmp_path / 'none*.txt'}")
    assert code == 1 and "no such file" in err
    code, _, err = prepare(capsys, *flags, "--config.vocab=")
    assert code == 1 and "--config.vocab" in err
    code, _, err = prepare(capsys, *flags, "--config.shards=500")
    assert code == 1 and "500 shards need as many documents" in err
    code, _, err = prepare(capsys, *flags, "--config.shards=0")
    assert code == 1 and "shards has to be 1 or more" in err
    code, _, err = prepare(capsys, *flags, "--config.runner=bean")
    assert code == 1 and "did you mean 'beam'" in err
    (tmp_path / "bad.txt").write_bytes(b"good\n\xff\n")
    code, _, err = prepare(capsys, *flags, f"--input={tmp_path / 'bad.txt'}")
    assert code == 1 and "bad.txt:2: not valid UTF-8" in err
    assert not list((tmp_path / "out").glob("*.tfrecord"))


def test_a_vocabulary_can_be_learned(tmp_path, capsys):
    flags = common(tmp_path)
    flags[2] = "--config.train_vocab=200"
    code, summary, err = prepare(capsys, *flags)
    assert code == 0, err
    assert len(open(summary["vocab"], encoding="utf-8").read().split()) <= 200
    recipe = ["--recipe=vocab", *flags[:1], f"--output={tmp_path / 'v'}"]
    code, found, err = prepare(
        capsys, *recipe, "--config.size=150", "--config.unused=3"
    )
    assert code == 0, err
    tokens = (tmp_path / "v" / "vocab.txt").read_text().split("\n")[:-1]
    assert found["tokens"] == len(tokens) <= 150 and found["problems"] == []
    assert tokens[:5] == ["[PAD]", "[unused0]", "[unused1]", "[unused2]", "[UNK]"]
    (tmp_path / "bad.txt").write_text("[UNK]\n[CLS]\na\na\n")
    check = ["--recipe=check_vocab", f"--input={tmp_path / 'bad.txt'}"]
    code, found, _ = prepare(capsys, *check, "--config.rows=9")
    assert code == 0 and found["tokens"] == 4
    assert {"lacks [SEP]", "has 4 tokens, the embedding has 9 rows"} <= set(
        found["problems"]
    )


def test_one_large_file_makes_many_shards(tmp_path, capsys):
    flags = common(tmp_path)
    code, summary, err = prepare(capsys, *flags, "--config.shards=3")
    assert code == 0, err
    made = sorted((tmp_path / "out").glob("*.tfrecord"))
    assert summary["shards"] == len(made) == 3 and summary["instances"] >= 20


def test_beam_makes_the_same_shards(tmp_path, capsys, monkeypatch):
    flags = [*common(tmp_path), "--config.shards=2"]
    with monkeypatch.context() as absent:
        absent.setitem(sys.modules, "apache_beam", None)
        code, _, err = prepare(capsys, *flags, "--config.runner=beam")
        assert code == 1 and "pip install 'tfdl[beam]'" in err
    pytest.importorskip("apache_beam")
    code, _, err = prepare(capsys, *flags)
    assert code == 0, err
    made = sorted((tmp_path / "out").glob("*.tfrecord"))
    before = [path.read_bytes() for path in made]
    made[1].unlink()
    code, again, err = prepare(capsys, *flags, "--config.runner=beam")
    assert code == 0 and again["kept"] == 1, err
    assert [path.read_bytes() for path in made] == before

"""Every task through the verbs: train, evaluate, predict on small files."""

import json

import pytest

from tests.helpers import golden
from tests.models.bert.tiny import predict, save
from tfdl import evaluate as evaluate_verb
from tfdl import train as train_verb

CONLL = """-DOCSTART- -X- O O

The DT B-NP O
river NN I-NP B-LOC
mill NN I-NP I-LOC
stands VBZ B-VP O

A DT B-NP O
heron NN I-NP B-PER
waited VBD B-VP O
"""
SWAG = (
    "index,video-id,fold-ind,startphrase,sent1,sent2,gold-source,"
    "ending0,ending1,ending2,ending3,label\n"
    '0,a,1,"x","the dog sat.","it",gold,"barked","rained","was hot","flew",0\n'
    '1,b,2,"x","the river rose.","it",gold,"barked","ran fast","sat","slept",1\n'
)
TABLE = "text\tlabel\n" + "".join(
    f"the {word} is here\t{label}\n"
    for word, label in [("dog", "a"), ("fox", "b"), ("mill", "c")] * 8
)
MULTI = "text\tlabel\n" + "the dog\ta|b\nthe fox\tb\nthe mill\ta\n" * 6
NUMBERS = "text\tlabel\n" + "the dog\t1.5\nthe fox\t0\nthe mill\t3\n" * 6


def train(tmp_path, capsys, recipe, data, *overrides):
    """Trains the golden encoder for some steps; returns (metrics, model dir)."""
    base = save(tmp_path / "base", "encoder")
    arguments = [
        "--model=bert",
        f"--recipe={recipe}",
        f"--init_from={base}",
        f"--workdir={tmp_path / 'run'}",
        f"--config.data={data}",
        "--config.max_seq_length=32",
        "--config.batch_size=4",
        "--config.steps=150",
        "--config.optimizer.learning_rate=1e-3",
        "--config.optimizer.bias_correction=true",
        *overrides,
    ]
    code = train_verb.main(["train", *arguments])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out.splitlines()[-1]), tmp_path / "run" / "model"


def evaluate(model, capsys, *flags):
    """Runs the verb; returns the metrics."""
    code = evaluate_verb.main(["evaluate", f"--model_dir={model}", *flags])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out)


def write(path, text):
    """Writes a file and returns its path."""
    path.write_text(text)
    return path


def test_classification(tmp_path, capsys):
    path = write(tmp_path / "a.tsv", TABLE)
    metrics, model = train(tmp_path, capsys, "classify", f"table:{path},{path}")
    assert metrics["accuracy"] == 1.0
    assert evaluate(model, capsys, f"--data={path}")["accuracy"] == 1.0
    records = predict(model, tmp_path, ["the dog is here", "the mill is here"], capsys)
    assert [record["label"] for record in records] == ["a", "c"]
    assert sum(records[0]["probabilities"].values()) == pytest.approx(1.0, abs=1e-5)
    bad = write(tmp_path / "bad.tsv", "text\tlabel\nthe dog\tz\n")
    code = evaluate_verb.main(["evaluate", f"--model_dir={model}", f"--data={bad}"])
    assert code == 1
    assert "bad.tsv:2" in capsys.readouterr().err


def test_several_labels(tmp_path, capsys):
    path = write(tmp_path / "a.tsv", MULTI)
    metrics, model = train(
        tmp_path, capsys, "classify", f"table:{path},{path}", "--config.kind=multilabel"
    )
    assert metrics["micro_f1"] > 0.9
    record = predict(model, tmp_path, ["the dog"], capsys)[0]
    assert record["labels"] == ["a", "b"]


def test_regression(tmp_path, capsys):
    path = write(tmp_path / "a.tsv", NUMBERS)
    metrics, model = train(
        tmp_path, capsys, "classify", f"table:{path},{path}", "--config.kind=regression"
    )
    assert metrics["spearman"] > 0.9
    low, high = predict(model, tmp_path, ["the fox", "the mill"], capsys)
    assert low["score"] < high["score"]


def test_questions(tmp_path, capsys):
    path = golden("bert", "squad_tiny.json")
    metrics, model = train(
        tmp_path,
        capsys,
        "squad2",
        f"squad:{path},{path}",
        "--config.max_seq_length=60",
        "--config.max_query_length=20",
        "--config.doc_stride=24",
        "--config.steps=250",
    )
    assert metrics["exact"] >= 50
    again = evaluate(model, capsys, f"--data={path}")
    assert again["HasAns_total"] == 4 and (model / "null_odds.json").exists()
    lines = ["Who?\tThe quick brown fox.", "When?\tIt was long ago."]
    records = predict(model, tmp_path, lines, capsys)
    assert [record["question"] for record in records] == ["Who?", "When?"]
    assert all("null_score_diff" in record for record in records)


def test_endings(tmp_path, capsys):
    path = write(tmp_path / "a.csv", SWAG)
    metrics, model = train(tmp_path, capsys, "swag", f"swag:{path},{path}")
    assert metrics["accuracy"] == 1.0
    assert evaluate(model, capsys, f"--data={path}")["accuracy"] == 1.0


@pytest.mark.parametrize("layers, rate", [("", 1e-3), ("weighted_sum_all", 3e-2)])
def test_entities(tmp_path, capsys, layers, rate):
    path = write(tmp_path / "a.conll", CONLL)
    metrics, model = train(
        tmp_path,
        capsys,
        "ner",
        f"conll:{path},{path}",
        f"--config.feature_layers={layers}",
        "--config.lstm_units=8",
        "--config.batch_size=2",
        f"--config.optimizer.learning_rate={rate}",
        "--config.steps=200",
    )
    assert metrics["f1"] == 100.0
    assert evaluate(model, capsys, f"--data={path}")["f1"] == 100.0
    record = predict(model, tmp_path, ["The river mill stands"], capsys)[0]
    assert record["entities"] == [
        {"label": "LOC", "start": 1, "end": 3, "text": "river mill"}
    ]


def test_a_sequence_over_the_position_table_is_refused(tmp_path, capsys):
    base = save(tmp_path / "base", "encoder")
    path = write(tmp_path / "a.tsv", TABLE)
    arguments = [
        "train",
        "--model=bert",
        "--recipe=classify",
        f"--init_from={base}",
        f"--workdir={tmp_path / 'run'}",
        f"--config.data=table:{path}",
        "--config.steps=1",
    ]
    code = train_verb.main([*arguments, "--config.max_seq_length=65"])
    assert code == 1
    assert "over the encoder's 64 positions" in capsys.readouterr().err
    # A run that could not begin is no other run: the mended command goes through.
    code = train_verb.main([*arguments, "--config.max_seq_length=16"])
    assert code == 0, capsys.readouterr().err
    capsys.readouterr()
    code = train_verb.main([*arguments, "--config.max_seq_length=17"])
    assert code == 1
    assert "holds another run (max_seq_length: 16 -> 17)" in capsys.readouterr().err

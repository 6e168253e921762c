"""What predict and evaluate offer beyond one head's plain records."""

import json

import numpy as np
import pytest

from tests.helpers import golden
from tests.models.bert.tiny import predict, save
from tfdl import evaluate as evaluate_verb
from tfdl import predict as predict_verb

TEXTS = ["the quick brown fox", "hello, world! ||| the lazy dog", "the river ran"]
LABELS = {"labels": ["contradiction", "entailment", "neutral"]}
LONG = " ".join(["the river ran past the mill ."] * 20)


def run(verb, capsys, *flags):
    """Runs a verb; returns (exit code, stdout, stderr)."""
    code = verb.main(["verb", *flags])
    out, err = capsys.readouterr()
    return code, out, err


def test_token_vectors_as_arrays(tmp_path, capsys):
    save(tmp_path / "m", "pretraining")
    options = ["--option=mode=features", "--option=layers=-1,-2"]
    records = predict(tmp_path / "m", tmp_path, TEXTS, capsys, *options)
    flags = [f"--model_dir={tmp_path / 'm'}", f"--input={tmp_path / 'input.txt'}"]
    for combine in ("", "concat", "sum", "mean"):
        output = tmp_path / f"{combine}.npz"
        code, out, err = run(
            predict_verb, capsys, *flags, *options,
            f"--option=combine={combine}", f"--output={output}",
        )  # fmt: skip
        assert code == 0 and not out, err
        arrays = np.load(output)
        places, found = arrays["offsets"], arrays["features"]
        for i, record in enumerate(records):
            tokens = [token["token"] for token in record["features"]]
            assert arrays["tokens"][places[i] : places[i + 1]].tolist() == tokens
            layers = np.array(
                [[x["values"] for x in t["layers"]] for t in record["features"]]
            )
            expected = {
                "": layers,
                "concat": layers.reshape(len(layers), -1),
                "sum": layers.sum(1),
                "mean": layers.mean(1),
            }[combine]
            np.testing.assert_allclose(
                found[places[i] : places[i + 1]], expected, atol=2e-6
            )
    # ||| separates two texts.
    tokens = [token["token"] for token in records[1]["features"]]
    assert tokens.count("[SEP]") == 2 and "|" not in tokens


def test_a_submission_for_the_glue_server(tmp_path, capsys):
    save(tmp_path / "m", "classification", head_config={**LABELS, "glue_task": "mnli"})
    folder = tmp_path / "MNLI"
    folder.mkdir()
    row = "\t".join(["{i}"] + ["x"] * 7 + ["the fox", "the dog {i}"])
    rows = "".join(row.format(i=i) + "\n" for i in range(3))
    header = "\t".join(["index", *"bcdefgh", "sentence1", "sentence2"]) + "\n"
    (folder / "test_mismatched.tsv").write_text(header + rows)
    output = tmp_path / "out" / "records.jsonl"
    flags = [f"--model_dir={tmp_path / 'm'}", f"--output={output}"]
    code, _, err = run(
        predict_verb, capsys, *flags, f"--input=glue:{folder}:test_mismatched"
    )
    assert code == 0, err
    records = [json.loads(line) for line in output.read_text().splitlines()]
    submission = (output.parent / "MNLI-mm.tsv").read_text().splitlines()
    assert submission[0] == "index\tprediction"
    assert submission[1:] == [f"{i}\t{x['label']}" for i, x in enumerate(records)]
    table = np.loadtxt(output.parent / "test_results.tsv")
    expected = [list(x["probabilities"].values()) for x in records]
    np.testing.assert_allclose(table, expected, atol=1e-6)


def test_long_texts_are_read_in_windows(tmp_path, capsys):
    config = {**LABELS, "doc_stride": 30, "window_pooling": "max"}
    save(tmp_path / "m", "classification", head_config=config)
    cut = predict(
        tmp_path / "m", tmp_path, [LONG, TEXTS[0]], capsys, "--option=doc_stride=999"
    )
    both = predict(tmp_path / "m", tmp_path, [LONG, TEXTS[0]], capsys)
    assert both[0]["probabilities"] != cut[0]["probabilities"]
    assert both[1]["probabilities"] == pytest.approx(cut[1]["probabilities"], abs=2e-6)
    (tmp_path / "t.tsv").write_text(
        "text\tlabel\n" + "".join(f"{t}\tneutral\n" for t in (LONG, TEXTS[0]))
    )
    code, out, err = run(
        evaluate_verb, capsys,
        f"--model_dir={tmp_path / 'm'}", f"--data={tmp_path / 't.tsv'}",
    )  # fmt: skip
    assert code == 0, err
    right = [record["label"] == "neutral" for record in both]
    assert json.loads(out)["accuracy"] == np.mean(right)


def test_every_language_of_xnli(tmp_path, capsys):
    save(tmp_path / "m", "classification", head_config=LABELS)
    rows = [["language", "gold_label", *"abcd", "sentence1", "sentence2"]]
    for language in ("en", "sw", "sw"):
        rows.append([language, "neutral", *"abcd", "the fox", "the dog"])
    text = "".join("\t".join(row) + "\n" for row in rows)
    (tmp_path / "xnli.dev.tsv").write_text(text)
    code, out, err = run(
        evaluate_verb, capsys, f"--model_dir={tmp_path / 'm'}",
        f"--data=xnli:{tmp_path}", "--config.language=all",
    )  # fmt: skip
    assert code == 0, err
    found = json.loads(out)
    assert found["accuracy_en"] == found["accuracy_sw"] == found["accuracy_average"]
    assert (tmp_path / "m" / "xnli.txt").read_text().split()[:3] == [
        "en", "sw", "average",
    ]  # fmt: skip


def test_what_to_measure_on_has_to_be_said(tmp_path, capsys):
    for head, config in [
        ("classification", LABELS),
        ("squad", {}),
        ("pretraining", {}),
    ]:
        save(tmp_path / head, head, head_config=config)
        code, out, err = run(evaluate_verb, capsys, f"--model_dir={tmp_path / head}")
        assert code == 1 and not out
        assert err.startswith("error: --data is needed")


def test_pretraining_is_measured_on_records_and_on_text(tmp_path, capsys):
    save(tmp_path / "m", "pretraining")
    flags = [f"--model_dir={tmp_path / 'm'}", f"--output={tmp_path}"]
    sources = (
        f"tfrecord:{golden('bert', 'pretrain.tfrecord')}",
        f"text:{golden('bert', 'pretrain_corpus.txt')}",
    )
    for source in sources:
        code, out, err = run(evaluate_verb, capsys, *flags, f"--data={source}")
        assert code == 0, err
        found = json.loads(out)
        # Random weights guess among 782 tokens.
        assert 100 < found["masked_lm_perplexity"] < 5000

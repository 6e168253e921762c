"""The verbs on model directories: predict, evaluate."""

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.ulmfit import toys
from tfdl import cli
from tfdl.engine import distribution, errors, files, model_dir, prediction, runs
from tfdl.models.ulmfit import predict
from tfdl.text.inputs import read


def save(config, folder):
    """Writes the untrained model of a recipe."""
    tf.random.set_seed(0)
    task = runs.create_task(config, folder)
    task.prepare()
    network = task.build_model()
    model_dir.save(folder, task.model_config(), network, task.assets())
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    # Random networks, but the same ones every time: what they say is looked at.
    keras.utils.set_random_seed(1)
    folder = tmp_path_factory.mktemp("models")
    source = toys.csv_folder(folder)
    return {
        "source": source,
        "language": save(toys.language_model(source), folder / "language"),
        "forward": save(toys.classifier(source), folder / "forward"),
        "backward": save(
            toys.classifier(source, direction="backward"), folder / "backward"
        ),
    }


def run(capsys, *arguments):
    """Runs a verb in this process; returns (exit code, records, stderr)."""
    code = cli.main(["tfdl", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, [json.loads(line) for line in out.splitlines()], err


def write(path, content):
    path.write_text(content)
    return path


def test_classes_do_not_depend_on_the_batch(models, tmp_path, capsys):
    texts = ["It is red and blue.", "", "sour " * 40, "It is sweet."]
    path = write(tmp_path / "in.txt", "\n".join(texts) + "\n")
    flags = ("predict", f"--model_dir={models['forward']}", f"--input={path}")
    code, together, _ = run(capsys, *flags)
    assert code == 0 and [row["text"] for row in together] == [
        *texts[:2], texts[2], texts[3],
    ]  # fmt: skip
    for row in together:
        assert sum(row["probabilities"].values()) == pytest.approx(1.0, abs=1e-5)
        assert row["label"] == max(row["probabilities"], key=row["probabilities"].get)
    _, alone, _ = run(capsys, *flags, "--option=batch_size=1")
    for one, other in zip(together, alone, strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=2e-6)


def test_an_ensemble_is_the_mean(models, tmp_path, capsys):
    path = write(tmp_path / "in.jsonl", '{"text": "It is red and sour."}\n')
    rows = []
    for flags in (
        (f"--model_dir={models['forward']}",),
        (f"--model_dir={models['backward']}",),
        (
            f"--model_dir={models['forward']}",
            f"--option=ensemble={models['backward']}",
        ),
    ):
        _, found, _ = run(capsys, "predict", *flags, f"--input={path}")
        rows.append(np.array(list(found[0]["probabilities"].values())))
    assert not np.allclose(rows[0], rows[1])
    np.testing.assert_allclose(rows[2], (rows[0] + rows[1]) / 2, atol=2e-6)
    code, _, err = run(
        capsys,
        *("predict", f"--model_dir={models['forward']}", f"--input={path}"),
        f"--option=ensemble={models['language']}",
    )
    assert code == 1 and "does not tell the classes that" in err


def test_scores_add_up(models, tmp_path, capsys):
    path = write(tmp_path / "in.txt", "It is red and blue.\nx\n")
    flags = (f"--model_dir={models['language']}", f"--input={path}")
    code, rows, _ = run(capsys, "predict", *flags)
    assert code == 0
    for row in rows:
        values = [value for _, value in row["tokens"]]
        assert row["log_probability"] == pytest.approx(sum(values), abs=1e-3)
        expected = math.exp(-sum(values) / len(values))
        assert row["perplexity"] == pytest.approx(expected, rel=1e-3)
    assert [token for token, _ in rows[0]["tokens"]][:3] == ["xxmaj", "it", "is"]


def test_texts_are_continued(models, tmp_path, capsys):
    path = write(tmp_path / "in.txt", "It is\n")
    flags = (f"--model_dir={models['language']}", f"--input={path}")
    more = ("--option=mode=continue", "--option=count=6")
    _, one, _ = run(capsys, "predict", *flags, *more, "--seed=1")
    _, two, _ = run(capsys, "predict", *flags, *more, "--seed=1")
    assert one == two and one[0]["continuation"]
    _, rows, _ = run(capsys, "predict", *flags, *more, "--option=beams=3")
    assert rows[0]["continuation"]
    code, _, err = run(capsys, "predict", *flags, *more, "--option=temperature=hot")
    assert code == 1 and "temperature=hot: a number from 0 on is needed" in err


def test_a_long_document(models):
    request = prediction.Request(
        models["forward"], model_dir.read_config(models["forward"])
    )
    predictor = predict.Predictor(request.model_dir, request.config)
    ids = np.tile(predictor.ids("It is red and blue ."), 15_000)
    assert len(ids) > 100_000
    from tfdl.models.ulmfit.classify_task import Probabilities

    strategy = distribution.create("one_device")
    found = Probabilities(strategy, predictor.model, 1, 2)([ids, ids[:3]])
    assert np.isfinite(found).all()


def test_evaluation(models, tmp_path, capsys):
    source = models["source"]
    code, (metrics,), _ = run(
        capsys,
        *("evaluate", f"--model_dir={models['forward']}", f"--data={source}"),
        f"--output={tmp_path}",
    )
    assert code == 0 and metrics["accuracy"] == pytest.approx(1 - metrics["error"])
    _, (both,), _ = run(
        capsys,
        *("evaluate", f"--model_dir={models['forward']}", f"--data={source}"),
        *(f"--output={tmp_path}", f"--config.ensemble={models['backward']}"),
    )
    assert both["loss"] != metrics["loss"]
    _, (metrics,), _ = run(
        capsys,
        *("evaluate", f"--model_dir={models['language']}", f"--data={source}"),
        *(f"--output={tmp_path}", "--config.cache.window=20"),
    )
    assert metrics["perplexity"] == pytest.approx(math.exp(metrics["loss"]))
    assert metrics["cache_perplexity"] > 1
    code, _, err = run(
        capsys, "evaluate", f"--model_dir={models['forward']}", "--data=ag:/nowhere"
    )
    assert code == 1 and "no such folder" in err


def test_classes_that_the_model_does_not_know(models, tmp_path, capsys):
    write(tmp_path / "train.csv", '"x","a"\n')
    code, _, err = run(
        capsys,
        *("evaluate", f"--model_dir={models['forward']}", f"--data=csv:{tmp_path}"),
    )
    assert code == 1 and "train.csv:1: class 'x' is not among those of" in err


def test_inputs(tmp_path):
    write(tmp_path / "b.txt", "two\nlines")
    write(tmp_path / "a.txt", "")
    assert read(str(tmp_path)) == ["", "two\nlines"]
    path = write(tmp_path / "in.jsonl", '{"text": "a"}\n{"txt": "b"}\n')
    with pytest.raises(errors.UserError, match="in.jsonl:2: a field 'text' is needed"):
        read(str(path))
    assert files.read_text(path)

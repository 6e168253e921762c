"""The command line itself: help, mistakes, and how fast it answers."""

import importlib
import resource
import subprocess
import sys

import pytest

from tests.helpers import ROOT, run_python
from tfdl import cli
from tfdl.engine.errors import UserError


def run(capsys, *arguments):
    """Runs `tfdl ...` in this process; returns (exit code, stdout, stderr)."""
    code = cli.main(["tfdl", *arguments])
    return code, *capsys.readouterr()


def test_help_is_fast_and_loads_no_tensorflow():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "tfdl.cli", "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0 and "tfdl train --model=bert" in done.stdout
    assert not {"tensorflow", "keras", "numpy"} & set(done.stderr.split())
    # Its own seconds: other processes may keep the machine busy.
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used < 0.5


@pytest.mark.parametrize("verb", cli.verbs())
def test_every_verb_explains_itself(verb, capsys):
    code, out, err = run(capsys, verb, "--help")
    assert code == 0 and not err
    assert f"tfdl {verb} " in out and "\nFlags:\n  --" in out
    flags = importlib.import_module(f"tfdl.{verb}").FLAGS
    for name in flags:
        if not name.startswith("help") and name not in ("flagfile", "undefok"):
            assert f"  --{name}" in out and flags[name].help


def test_help_comes_without_tensorflow():
    code = "import sys; from tfdl import cli; cli.main(['tfdl', 'train', '--help']); "
    done = run_python("-c", code + "sys.exit('tensorflow' in sys.modules)")
    assert done.returncode == 0, done.stderr


MISTAKES = [
    (["trian"], 2, "unknown verb 'trian'; did you mean 'train'?"),
    (["train", "--modle=bert"], 2, "unknown flag 'modle'; did you mean 'model'?"),
    (["train", "--model=bert", "extra"], 2, "unexpected argument 'extra'"),
    (["train", "--seed=x"], 2, "flag --seed=x: invalid literal"),
    (["train", "--config.seed"], 2, "--config.seed: write --config.field=value"),
    (["train"], 1, "--model is needed"),
    (["train", "--model=bart"], 1, "did you mean 'bert'?"),
    (["train", "--model=bert", "--recipe=gleu"], 1, "did you mean 'glue'?"),
    (["train", "--model=bert", "--config.sede=1"], 1, "did you mean 'seed'?"),
    (["train", "--model=bert", "--config.seed=many"], 1, "an integer is needed"),
    (["train", "--model=bert", "--config.stages.clasify.epochs=1"], 1, "'classify'?"),
    (["evaluate"], 1, "give one of --model_dir and --workdir"),
    (["predict", "--model_dir=/nowhere"], 1, "/nowhere: no such model directory"),
]


@pytest.mark.parametrize("arguments, code, message", MISTAKES)
def test_mistakes_take_one_line(arguments, code, message, capsys, monkeypatch):
    monkeypatch.setenv("BUILD_WORKING_DIRECTORY", str(ROOT))
    found, out, err = run(capsys, *arguments)
    assert found == code and not out
    first, *rest = err.splitlines()
    assert first.startswith("error: ") and message in first
    hint = [f"`tfdl {arguments[0]} --help` explains the flags"]
    assert rest == (hint if code == 2 and len(arguments) > 1 else [])


def test_a_run_is_not_a_model_directory(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"model": "bert", "task": "classify"}')
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    code, _, err = run(capsys, "predict", f"--model_dir={tmp_path}")
    assert code == 1 and f"did you mean {tmp_path / 'model'}?" in err


def test_convert_can_be_called_before_and_after_its_verb_is_imported(tmp_path):
    import tfdl

    for _ in range(2):
        with pytest.raises(UserError, match="unknown model 'brt'"):
            tfdl.convert("brt", "nowhere", str(tmp_path))
        importlib.import_module("tfdl.convert")

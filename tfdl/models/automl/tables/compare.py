"""Proposers of architectures against one another on tables of finished trainings.

    python -m tfdl.models.automl.tables.compare
    python -m tfdl.models.automl.tables.compare --tables=digits-729 --trials=1000
    python -m tfdl.models.automl.tables.compare --tables=my/digits.json \
        --proposers='{"random": {"name": "random"}, "old": {"name": "evolution"}}'

A table that needs a package which is not installed is left out, with a note. Prints a
line for each table and proposer; --output/automl_comparison.png shows all searches.
"""

import argparse
import json
import os
import pathlib
import sys
import time

from tfdl.engine import errors, files
from tfdl.models.automl import proposers
from tfdl.models.automl.tables import comparison, figure, table

TABLES = "digits-4096,digits-729,nas-bench-graph-cora"
TRIALS = (50, 100, 300)

# With the settings for hundreds of trials; the papers' are for thousands.
LABELS = {
    "random": "random",
    "aging evolution": "evolution",
    "tournament": "tournament",
    "REINFORCE": "reinforce",
    "PPO": "ppo",
    "independent softmaxes": "factorised",
}


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Reads the flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", default=TABLES, help="names or FILE.json, commas")
    parser.add_argument("--proposers", default="", help="JSON: label -> configuration")
    parser.add_argument("--seeds", type=int, default=100, help="searches of each")
    parser.add_argument("--trials", type=int, default=300, help="of a search")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", default="runs/automl-comparison")
    return parser.parse_args(argv)


def available(names: list[str]) -> list[str]:
    """Returns the tables that are there; says what the others need."""
    found = []
    for name in names:
        try:
            table.find(name)
        except errors.UserError as error:
            print(f"without {name}: {error}", file=sys.stderr)
            continue
        found.append(name)
    if not found:
        raise errors.UserError("there is no table to compare on")
    return found


def run(flags: argparse.Namespace) -> int:
    """Compares; prints JSON lines."""
    try:
        chosen = json.loads(flags.proposers or "null")
    except ValueError as error:
        raise errors.UserError(f"--proposers is not JSON ({error})") from None
    if not flags.proposers:
        chosen = {label: proposers.SMALL_BUDGET[name] for label, name in LABELS.items()}
    if not isinstance(chosen, dict) or not chosen:
        raise errors.UserError("--proposers has to be a JSON object: label -> options")
    names = available([name for name in flags.tables.split(",") if name])
    begin = time.perf_counter()
    results = comparison.compare(
        names, chosen, flags.seeds, flags.trials, max(1, flags.workers)
    )
    seconds = time.perf_counter() - begin
    points = [t for t in (*TRIALS, flags.trials) if t <= flags.trials]
    for name, searches in results.items():
        for label, own in searches.items():
            record = {"table": name, "proposer": label}
            print(json.dumps({**record, **comparison.summary(own, points)}))
    path = files.atomic_write(
        pathlib.Path(flags.output) / "automl_comparison.png",
        figure.draw(results, flags.seeds),
    )
    print(json.dumps({"seconds": round(seconds, 1), "figure": str(path)}))
    return 0


def main(argv: list[str] | None = None) -> int:
    """Runs the comparison; returns the exit code."""
    flags = arguments(argv)
    try:
        return run(flags)
    except errors.UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

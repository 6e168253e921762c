"""DAWNBench's log of a run: accuracy by hours, time to a target, and what it cost.

stanford-futuredata/dawn-bench-entries: a table `epoch hours top1Accuracy top5Accuracy`
with one row per epoch, and a JSON file about who ran it on what. The score is the first
row that reaches 93% top-5; a run that never does has none.

    python -m tfdl.models.imagenet18.dawnbench --log=entry.tsv --cost_per_hour=24.48
"""

import dataclasses
import datetime
import json
import pathlib
import re
import sys
from collections.abc import Iterable, Mapping, Sequence

from absl import flags

from tfdl.engine import command, errors, files

HEADER = ("epoch", "hours", "top1Accuracy", "top5Accuracy")
# The original's own log: `~~0<tab>0.02000<tab><tab>63.996<tab><tab>79.995`.
EVENT = "~~"
TARGET = 93.0
MAX_BYTES = 64 << 20


@dataclasses.dataclass(frozen=True)
class Row:
    """An epoch: hours since the start, accuracies in percent."""

    epoch: int
    hours: float
    top1: float
    top5: float


def table(rows: Iterable[Row]) -> str:
    """Returns the table of an entry, with its header."""
    lines = ["\t".join(HEADER)]
    lines += [f"{r.epoch}\t{r.hours:.8g}\t{r.top1:.3f}\t{r.top5:.3f}" for r in rows]
    return "\n".join(lines) + "\n"


def event_log(rows: Iterable[Row]) -> str:
    """Returns the rows as the original's training log wrote them."""
    lines = [f"{EVENT}epoch\thours\ttop1\ttop5"]
    lines += [
        f"{EVENT}{r.epoch}\t{r.hours:.5f}\t\t{r.top1:.3f}\t\t{r.top5:.3f}" for r in rows
    ]
    return "\n\n".join(lines) + "\n"


def read(path: files.PathLike) -> list[Row]:
    """Reads a table or an event log.

    Raises:
        UserError: no such table, a row that is none, or hours or epochs that go
            back, as in entries whose first two columns are swapped.
    """
    path = pathlib.Path(path)
    lines = files.read_text(path, MAX_BYTES).splitlines()
    rows: list[Row] = []
    marked = any(line.startswith(EVENT) for line in lines)
    for number, line in enumerate(lines, 1):
        if marked and not line.startswith(EVENT):
            continue
        cells = re.split(r"\t+", line.removeprefix(EVENT).strip())
        if cells == [""] or cells[0].lower() == "epoch":
            continue
        rows.append(_row(f"{path}:{number}", cells))
    if not rows:
        raise errors.UserError(f"{path} has no rows of epoch, hours, top-1 and top-5")
    for before, after in zip(rows, rows[1:], strict=False):
        if after.hours < before.hours or after.epoch <= before.epoch:
            raise errors.UserError(
                f"{path}: epoch {after.epoch} at {after.hours} h comes after epoch "
                f"{before.epoch} at {before.hours} h; are columns swapped?"
            )
    return rows


def _row(where: str, cells: Sequence[str]) -> Row:
    try:
        epoch, hours, top1, top5 = cells
        row = Row(int(epoch), float(hours), float(top1), float(top5))
    except ValueError:
        raise errors.UserError(
            f"{where}: a row is epoch, hours, top-1 and top-5 (tabs between them), got "
            f"{' '.join(cells)[:80]!r}; the first columns may be swapped"
        ) from None
    if not (row.hours >= 0 and 0 <= row.top1 <= 100 and 0 <= row.top5 <= 100):
        raise errors.UserError(
            f"{where}: hours below 0, or accuracies that are no percentages"
        )
    return row


def first(rows: Iterable[Row], target: float = TARGET, metric: str = "top5"):
    """Returns the first row whose metric is at least `target`; None without one."""
    for row in rows:
        if getattr(row, metric) >= target:
            return row
    return None


def cost(row: Row, price_per_hour: float) -> float:
    """Returns what a run up to a row cost: hours times the price of all machines."""
    return row.hours * price_per_hour


def verdict(
    rows: Sequence[Row], target: float, metric: str, prices: Mapping[str, float]
) -> list[str]:
    """Returns lines for a person: time to the target, and the cost at each price."""
    row = first(rows, target, metric)
    name = metric.replace("top", "top-")
    if row is None:
        best = max((getattr(r, metric) for r in rows), default=0.0)
        return [f"{target:g}% {name} was not reached (best {best:.3f}%): no score"]
    minutes = row.hours * 60
    lines = [
        f"{target:g}% {name} after {minutes:.2f} minutes ({row.hours:.5f} h), epoch "
        f"{row.epoch}: top-1 {row.top1:.3f}%, top-5 {row.top5:.3f}%"
    ]
    for what, price in prices.items():
        if price:
            lines.append(f"cost {what}: ${cost(row, price):.2f} (${price:g} per hour)")
    return lines


def write_entry(
    folder: files.PathLike,
    rows: Sequence[Row],
    about: Mapping[str, object],
    model: str,
) -> pathlib.Path:
    """Writes the pair of files of an entry, `<author>_<model>_<hardware>_<framework>`.

    Args:
        folder: where they go.
        rows: the epochs.
        about: `author`, `author_email`, `code_url`, `hardware`, `cost_per_hour`.
        model: what was trained.

    Returns:
        The path of the table.
    """
    import tensorflow as tf

    folder = pathlib.Path(folder)
    framework = f"TensorFlow {tf.__version__}"
    parts = (about["author"] or "author", model, about["hardware"], framework)
    stem = "_".join(_plain(str(part)) for part in parts if part)
    entry = {
        "version": "v1.0",
        "author": about["author"],
        "authorEmail": about["author_email"],
        "framework": framework,
        "codeURL": about["code_url"],
        "model": model,
        "hardware": about["hardware"],
        "timestamp": datetime.date.today().isoformat(),
        "logFilename": f"{stem}.tsv",
        "misc": {},
    }
    if about["cost_per_hour"]:
        entry["costPerHour"] = about["cost_per_hour"]
    files.atomic_write(folder / f"{stem}.json", json.dumps(entry, indent=2) + "\n")
    return files.atomic_write(folder / f"{stem}.tsv", table(rows))


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-").lower()


FLAGS = flags.FlagValues()
flags.DEFINE_string("log", None, "A table or an event log.", flag_values=FLAGS)
flags.DEFINE_float("target", TARGET, "Percent to reach.", flag_values=FLAGS)
flags.DEFINE_enum("metric", "top5", ["top1", "top5"], "Of what.", flag_values=FLAGS)
flags.DEFINE_float(
    "cost_per_hour", 0.0, "USD per hour of all machines.", flag_values=FLAGS
)


def main(argv: list[str] | None = None) -> int:
    """Prints the score of a log as a JSON line; returns the exit code."""

    def score(values, overrides):
        command.no_overrides(overrides)
        command.require(values, "log")
        rows = read(values.log)
        row = first(rows, values.target, values.metric)
        record = {"rows": len(rows), "target": values.target, "metric": values.metric}
        record["reached"] = None if row is None else dataclasses.asdict(row)
        if row is not None and values.cost_per_hour:
            record["cost"] = cost(row, values.cost_per_hour)
        print(json.dumps(record))
        return 0

    return command.run("dawnbench", __doc__, FLAGS, score, argv)


if __name__ == "__main__":
    sys.exit(main())

"""The nine GLUE tasks and the diagnostic set, in their official files.

Wang et al. 2018 (arXiv 1804.07461); columns as in google-research/bert
run_classifier.py for the tasks it has.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from tfdl.engine import errors, files
from tfdl.metrics import classification
from tfdl.models.bert.examples import Example, read_lines

NLI = ("contradiction", "entailment", "neutral")
ENTAILMENT = ("entailment", "not_entailment")
BINARY = ("0", "1")


@dataclasses.dataclass(frozen=True)
class GlueTask:
    """Where a task's texts and labels stand, and how it is scored.

    Columns count from 0; negative ones from the end. `train` is (text a, text b,
    label), `test` (text a, text b); None is no column.
    """

    name: str
    labels: tuple[str, ...]
    train: tuple[int, int | None, int]
    test: tuple[int, int | None]
    columns: int
    metrics: tuple[str, ...]
    submission: str
    dev_files: tuple[str, ...] = ("dev.tsv",)
    test_files: tuple[str, ...] = ("test.tsv",)
    header: bool = True
    skip_short: bool = False

    @property
    def is_regression(self) -> bool:
        """Whether a number is predicted."""
        return not self.labels


_MNLI_FILES = {
    "dev_files": ("dev_matched.tsv", "dev_mismatched.tsv"),
    "test_files": ("test_matched.tsv", "test_mismatched.tsv"),
}
_F1 = ("f1", "accuracy")
TASKS = {
    task.name: task
    for task in (
        GlueTask(
            "cola", BINARY, (3, None, 1), (1, None), 4, ("matthews",), "CoLA.tsv",
            header=False,
        ),
        GlueTask(
            "sst-2", BINARY, (0, None, 1), (1, None), 2, ("accuracy",), "SST-2.tsv"
        ),
        GlueTask("mrpc", BINARY, (3, 4, 0), (3, 4), 5, _F1, "MRPC.tsv"),
        GlueTask(
            "sts-b", (), (7, 8, -1), (7, 8), 10, ("pearson", "spearman"), "STS-B.tsv"
        ),
        GlueTask("qqp", BINARY, (3, 4, 5), (1, 2), 6, _F1, "QQP.tsv", skip_short=True),
        GlueTask(
            "mnli", NLI, (8, 9, -1), (8, 9), 12, ("accuracy",), "MNLI-m.tsv",
            **_MNLI_FILES,
        ),
        GlueTask("qnli", ENTAILMENT, (1, 2, -1), (1, 2), 4, ("accuracy",), "QNLI.tsv"),
        GlueTask("rte", ENTAILMENT, (1, 2, -1), (1, 2), 4, ("accuracy",), "RTE.tsv"),
        GlueTask("wnli", BINARY, (1, 2, -1), (1, 2), 4, ("accuracy",), "WNLI.tsv"),
        GlueTask(
            "ax", NLI, (1, 2, -1), (1, 2), 4, ("matthews",), "AX.tsv",
            test_files=("diagnostic.tsv",),
        ),
    )
}  # fmt: skip

METRICS = {
    "accuracy": classification.accuracy,
    "f1": classification.f1,
    "matthews": classification.matthews,
    "pearson": classification.pearson,
    "spearman": classification.spearman,
}


def task(name: str) -> GlueTask:
    """Returns a task by name, in any case, with or without hyphen.

    Raises:
        UserError: there is no such task.
    """
    key = name.lower().replace("_", "-")
    key = {"sst2": "sst-2", "stsb": "sts-b", "sts": "sts-b"}.get(key, key)
    if key not in TASKS:
        raise errors.unknown("GLUE task", name, TASKS)
    return TASKS[key]


def read(folder: files.PathLike, name: str, split: str) -> list[Example]:
    """Reads a split of a task from its official folder.

    Args:
        folder: where train.tsv, dev.tsv ... lie.
        name: the task.
        split: `"train"`, `"dev"`, `"test"`; `"dev_mismatched"` and
            `"test_mismatched"` of MNLI.

    Raises:
        UserError: a file is missing, a row lacks columns or has a label outside
            the set; file and line are named.
    """
    spec = task(name)
    path = _path(pathlib.Path(folder), spec, split)
    is_test = split.startswith("test") or spec.name == "ax"
    a, b, label = (*spec.test, None) if is_test else spec.train
    needed = max(column for column in (a, b, label) if column is not None) + 1
    found, short = [], 0
    for number, line in read_lines(path):
        if number == 1 and (spec.header or is_test):
            continue
        cells = line.split("\t")
        where = f"{path}:{number}"
        too_short = needed if is_test else max(needed, spec.columns)
        if len(cells) < too_short:
            if spec.skip_short:
                short += 1
                continue
            raise errors.UserError(
                f"{where}: {len(cells)} columns, {spec.name} needs {too_short}"
            )
        value = None if label is None else _label(cells[label], spec, where)
        guid = cells[0] if is_test else str(number)
        pair = None if b is None else cells[b]
        found.append(Example(cells[a], pair, value, where, guid))
    if not found:
        raise errors.UserError(f"{path} has no rows")
    if short:
        from absl import logging

        logging.warning("%s: %d rows with missing columns skipped", path, short)
    return found


def score(name: str, labels: Sequence, predictions: Sequence) -> dict[str, float]:
    """Returns a task's own metrics."""
    return {
        metric: METRICS[metric](labels, predictions) for metric in task(name).metrics
    }


def glue_average(scores: Mapping[str, Mapping[str, float]]) -> float:
    """Averages each task's metrics, then the tasks (MNLI m and mm are one task)."""
    by_task: dict[str, list[float]] = {}
    for name, values in scores.items():
        key = "mnli" if name.lower().startswith("mnli") else name.lower()
        by_task.setdefault(key, []).append(float(np.mean(list(values.values()))))
    return float(np.mean([np.mean(values) for values in by_task.values()]))


def submission_rows(name: str, predictions: Sequence) -> str:
    """Returns the text of a submission file: index, prediction.

    Args:
        name: the task.
        predictions: label ids, or floats for STS-B (clipped to 0..5).
    """
    spec = task(name)
    lines = ["index\tprediction"]
    for i, prediction in enumerate(predictions):
        if spec.is_regression:
            text = f"{min(max(float(prediction), 0.0), 5.0):.3f}"
        else:
            text = spec.labels[int(prediction)]
        lines.append(f"{i}\t{text}")
    return "\n".join(lines) + "\n"


def submission_name(name: str, split: str = "test") -> str:
    """Returns the file name the GLUE server expects."""
    spec = task(name)
    return "MNLI-mm.tsv" if split.endswith("mismatched") else spec.submission


def _path(folder: pathlib.Path, spec: GlueTask, split: str) -> pathlib.Path:
    choices = {
        "train": "train.tsv",
        "dev": spec.dev_files[0],
        "test": spec.test_files[0],
    }
    if len(spec.dev_files) > 1:
        choices |= {
            "dev_mismatched": spec.dev_files[1],
            "test_mismatched": spec.test_files[1],
        }
    if split not in choices:
        raise errors.unknown(f"split of {spec.name}", split, choices)
    path = folder / choices[split]
    if not path.is_file():
        there = sorted(p.name for p in folder.glob("*.tsv")) if folder.is_dir() else []
        raise errors.UserError(
            f"{path}: no such file ({spec.name} has {', '.join(choices.values())}; "
            f"the folder has {', '.join(there) or 'no .tsv'})"
        )
    return path


def _label(text: str, spec: GlueTask, where: str):
    if not spec.is_regression:
        if text not in spec.labels:
            raise errors.UserError(
                f"{where}: {errors.unknown('label', text, spec.labels)}"
            )
        return text
    try:
        return float(text)
    except ValueError:
        raise errors.UserError(f"{where}: {text!r} is not a number") from None

"""The nine GLUE tasks and the diagnostic set, in their official files.

Wang et al. 2018 (arXiv 1804.07461); columns as in google-research/bert
run_classifier.py for the tasks it has.
"""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from absl import logging

from tfdl.engine import errors, files
from tfdl.metrics import classification
from tfdl.models.bert.examples import (
    Example,
    parse_number,
    read_lines,
    unknown_label,
)

NLI = ("contradiction", "entailment", "neutral")
ENTAILMENT = ("entailment", "not_entailment")
BINARY = ("0", "1")


@dataclasses.dataclass(frozen=True)
class GlueTask:
    """Where a task's texts and labels stand, and how it is scored.

    Columns count from 0; negative ones from the end. `train` is (text a, text b,
    label), `test` (text a, text b); None is no column. `columns` is the least that a
    labelled row has. `folder` is the task's place in the official archive.
    """

    name: str
    folder: str
    labels: tuple[str, ...]
    train: tuple[int, int | None, int]
    test: tuple[int, int | None]
    columns: int
    metrics: tuple[str, ...]
    submission: str
    files: Mapping[str, str] = dataclasses.field(default_factory=lambda: dict(_FILES))
    header: bool = True
    skip_short: bool = False

    @property
    def is_regression(self) -> bool:
        """Whether a number is predicted."""
        return not self.labels


_FILES = {"train": "train.tsv", "dev": "dev.tsv", "test": "test.tsv"}
_MNLI_FILES = {
    "train": "train.tsv",
    "dev": "dev_matched.tsv",
    "dev_mismatched": "dev_mismatched.tsv",
    "test": "test_matched.tsv",
    "test_mismatched": "test_mismatched.tsv",
}
_AX_FILES = {"dev": "diagnostic-full.tsv", "test": "diagnostic.tsv"}
_F1 = ("f1", "accuracy")
_PAIR, _PAIR_LABEL = (1, 2), (1, 2, -1)
TASKS = {
    task.name: task
    for task in (
        GlueTask(
            "cola", "CoLA", BINARY, (3, None, 1), (1, None), 4,
            ("matthews_correlation",), "CoLA.tsv", header=False,
        ),
        GlueTask(
            "sst-2", "SST-2", BINARY, (0, None, 1), (1, None), 2, ("accuracy",),
            "SST-2.tsv",
        ),
        GlueTask("mrpc", "MRPC", BINARY, (3, 4, 0), (3, 4), 5, _F1, "MRPC.tsv"),
        GlueTask(
            "sts-b", "STS-B", (), (7, 8, -1), (7, 8), 10, ("pearson", "spearman"),
            "STS-B.tsv",
        ),
        GlueTask(
            "qqp", "QQP", BINARY, (3, 4, 5), _PAIR, 6, _F1, "QQP.tsv",
            skip_short=True,
        ),
        GlueTask(
            "mnli", "MNLI", NLI, (8, 9, -1), (8, 9), 12, ("accuracy",), "MNLI-m.tsv",
            _MNLI_FILES,
        ),
        GlueTask(
            "qnli", "QNLI", ENTAILMENT, _PAIR_LABEL, _PAIR, 4, ("accuracy",),
            "QNLI.tsv",
        ),
        GlueTask(
            "rte", "RTE", ENTAILMENT, _PAIR_LABEL, _PAIR, 4, ("accuracy",), "RTE.tsv"
        ),
        GlueTask(
            "wnli", "WNLI", BINARY, _PAIR_LABEL, _PAIR, 4, ("accuracy",), "WNLI.tsv"
        ),
        # Its published labels follow five columns of linguistic phenomena.
        GlueTask(
            "ax", "diagnostic", NLI, (-3, -2, -1), _PAIR, 8,
            ("matthews_correlation",), "AX.tsv", _AX_FILES,
        ),
    )
}  # fmt: skip
# MRPC as its authors publish it; GLUE's development set are the id pairs of a list.
MSR_TRAIN, MSR_TEST = "msr_paraphrase_train.txt", "msr_paraphrase_test.txt"
MSR_DEV_IDS = "dev_ids.tsv"

METRICS = {
    "accuracy": classification.accuracy,
    "f1": classification.f1,
    "matthews_correlation": classification.matthews,
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

    Rows of QQP with missing columns are passed over and counted in a warning, but not
    those of its test set: every one of them has to be answered.

    Args:
        folder: where train.tsv, dev.tsv ... lie, or the archive's folder above.
        name: the task.
        split: `"train"`, `"dev"`, `"test"`; `"dev_mismatched"` and
            `"test_mismatched"` of MNLI.

    Raises:
        UserError: a file is missing, a row lacks columns or has a label outside
            the set; file and line are named.
    """
    spec = task(name)
    path = _path(pathlib.Path(folder), spec, split)
    labelled = not split.startswith("test")
    first, second, label = spec.train if labelled else (*spec.test, None)
    least, skip_short = _least_columns(spec, labelled), spec.skip_short and labelled
    belongs = _msr_filter(path, split)
    found, short = [], 0
    for number, cells in _rows(path, spec, labelled):
        where = f"{path}:{number}"
        if len(cells) < least:
            if not skip_short:
                raise errors.UserError(
                    f"{where}: {len(cells)} columns, {spec.name} needs {least}"
                )
            short += 1
        elif belongs(cells):
            value = None if label is None else _label(cells[label], spec, where)
            pair = None if second is None else cells[second]
            indexed = not labelled and path.name != MSR_TEST
            guid = cells[0] if indexed else str(number)
            found.append(Example(cells[first], pair, value, where, guid))
    if short:
        logging.warning("%s: %d rows with missing columns skipped", path, short)
    if not found:
        raise errors.UserError(f"{path} has no rows")
    return found


def score(name: str, labels: Sequence, predictions: Sequence) -> dict[str, float]:
    """Returns a task's own metrics."""
    return {
        metric: METRICS[metric](labels, predictions) for metric in task(name).metrics
    }


def glue_average(scores: Mapping[str, Mapping[str, float]]) -> float:
    """Averages each task's metrics, then the tasks.

    MNLI's two test sets (`mnli`, `mnli_mismatched`) count as one task; the diagnostic
    set does not count. The official score has all nine tasks; here the average is over
    those that are given. (The BERT paper's Table 1 has a plain mean of its columns,
    MNLI's two among them, without WNLI.)

    Args:
        scores: task -> its metrics; others than the task's own are passed over.

    Raises:
        UserError: a task is unknown or lacks its metrics, or there is none.
    """
    by_task: dict[str, list[float]] = {}
    for name, values in scores.items():
        spec = task("mnli" if name.lower().startswith("mnli") else name)
        missing = [metric for metric in spec.metrics if metric not in values]
        if missing:
            raise errors.UserError(f"the scores of {name} lack {missing[0]}")
        if spec.name != "ax":
            mean = float(np.mean([values[metric] for metric in spec.metrics]))
            by_task.setdefault(spec.name, []).append(mean)
    if not by_task:
        raise errors.UserError("there are no scores of a GLUE task to average")
    return float(np.mean([np.mean(means) for means in by_task.values()]))


def submission_rows(name: str, predictions: Sequence) -> str:
    """Returns the text of a submission file: index, prediction.

    Args:
        name: the task.
        predictions: label ids, or floats for STS-B (clipped to 0..5).

    Raises:
        ValueError: a prediction is no number or no id of a label.
    """
    spec = task(name)
    lines = ["index\tprediction"]
    for i, prediction in enumerate(predictions):
        if spec.is_regression:
            if not math.isfinite(prediction):
                raise ValueError(f"prediction {i} is {prediction}")
            text = f"{min(max(float(prediction), 0.0), 5.0):.3f}"
        else:
            if not 0 <= prediction < len(spec.labels):
                raise ValueError(f"prediction {i}: {spec.name} has no {prediction}")
            text = spec.labels[int(prediction)]
        lines.append(f"{i}\t{text}")
    return "\n".join(lines) + "\n"


def submission_name(name: str, split: str = "test") -> str:
    """Returns the file name the GLUE server expects."""
    spec = task(name)
    return "MNLI-mm.tsv" if split.endswith("mismatched") else spec.submission


def write_submission(
    folder: files.PathLike, name: str, predictions: Sequence, split: str = "test"
) -> pathlib.Path:
    """Writes the file that the GLUE server takes for a test set; returns its path.

    Args:
        folder: where the file goes, under the server's name for it.
        name: the task.
        predictions: as `submission_rows`, in the order of the test set.
        split: `"test"`, or MNLI's `"test_mismatched"`.
    """
    path = pathlib.Path(folder) / submission_name(name, split)
    return files.atomic_write(path, submission_rows(name, predictions))


def write_probabilities(path: files.PathLike, probabilities: np.ndarray) -> None:
    """Writes `test_results.tsv` as run_classifier.py: a line per example, [N, C]."""
    rows = ("\t".join(map(str, row)) for row in np.asarray(probabilities, np.float32))
    files.atomic_write(path, "".join(row + "\n" for row in rows))


def _rows(
    path: pathlib.Path, spec: GlueTask, labelled: bool
) -> Iterator[tuple[int, list[str]]]:
    """Yields line numbers and cells, without the header."""
    wide, width = 0, None
    for number, line in read_lines(path):
        if not line:
            continue
        cells = line.split("\t")
        if width is None:
            width = len(cells)
            if spec.header or not labelled:
                _check_header(cells, spec, labelled, f"{path}:{number}")
                continue
        wide += len(cells) > width
        yield number, cells
    if wide:
        logging.warning("%s: %d rows have more than %d columns", path, wide, width)


def _check_header(cells: list[str], spec: GlueTask, labelled: bool, where: str) -> None:
    least = _least_columns(spec, labelled)
    if len(cells) < least:
        raise errors.UserError(
            f"{where}: a header of {len(cells)} columns, {spec.name} needs {least}"
        )
    # A file that lost its header would lose its first example here.
    label = spec.train[2] if labelled else 0
    if cells[label] in spec.labels or _is_number(cells[label]):
        raise errors.UserError(f"{where}: a header line is needed, this is an example")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _least_columns(spec: GlueTask, labelled: bool) -> int:
    if labelled:
        return spec.columns
    return max(column for column in spec.test if column is not None) + 1


def _path(folder: pathlib.Path, spec: GlueTask, split: str) -> pathlib.Path:
    if split not in spec.files:
        raise errors.unknown(f"split of {spec.name}", split, spec.files)
    names = [spec.files[split]]
    if spec.name == "mrpc":
        names.append(MSR_TEST if split == "test" else MSR_TRAIN)
    for place in (folder, folder / spec.folder):
        for name in names:
            if (place / name).is_file():
                return place / name
    there = sorted(p.name for p in folder.glob("*.t[sx][vt]"))[:20]
    raise errors.UserError(
        f"{folder / names[0]}: no such file ({spec.name} has "
        f"{', '.join(spec.files.values())}; the folder has "
        f"{', '.join(there) or 'no .tsv'})"
    )


def _msr_filter(path: pathlib.Path, split: str) -> Callable[[list[str]], bool]:
    """Returns which rows of a file belong to a split."""
    if path.name != MSR_TRAIN:
        return lambda cells: True
    pairs = {
        tuple(line.split("\t")) for _, line in read_lines(path.parent / MSR_DEV_IDS)
    }
    return lambda cells: (tuple(cells[1:3]) in pairs) == (split == "dev")


def _label(text: str, spec: GlueTask, where: str) -> str | float:
    if not spec.is_regression:
        if text not in spec.labels:
            raise unknown_label(text, spec.labels, where)
        return text
    value = parse_number(text, where)
    if not 0 <= value <= 5:
        raise errors.UserError(f"{where}: a score from 0 to 5 is needed, got {value}")
    return value

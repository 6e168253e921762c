"""Counters and histograms in the form that TF Serving shows Prometheus."""

import bisect
import threading
from collections.abc import Sequence

PATH = "/monitoring/prometheus/metrics"
# Microseconds: 10 times powers of 1.8, to about 20 minutes.
LIMITS = tuple(10 * 1.8**power for power in range(33))


class Metric:
    """A metric with labels; safe to use from many threads."""

    kind = "counter"

    def __init__(self, name: str, labels: Sequence[str]):
        self.name, self.labels = name, tuple(labels)
        self._lock = threading.Lock()
        self._cells: dict[tuple[str, ...], object] = {}

    def lines(self) -> list[str]:
        """Returns the metric in Prometheus's text format."""
        name = "".join(c if c.isalnum() or c == "_" else ":" for c in self.name)
        lines = [f"# TYPE {name} {self.kind}"]
        with self._lock:
            for values, cell in sorted(self._cells.items()):
                labels = [
                    f'{label}="{_escape(value)}"'
                    for label, value in zip(self.labels, values, strict=True)
                ]
                lines += self._cell_lines(name, labels, cell)
        return lines

    def _cell_lines(self, name: str, labels: list[str], cell) -> list[str]:
        raise NotImplementedError


class Counter(Metric):
    """A number that only grows."""

    def add(self, *labels: str, by: int = 1) -> None:
        """Adds to the cell of these label values."""
        with self._lock:
            self._cells[labels] = self._cells.get(labels, 0) + by

    def total(self) -> int:
        """Returns the sum over all cells."""
        with self._lock:
            return sum(self._cells.values())

    def _cell_lines(self, name, labels, cell):
        return [f"{name}{{{','.join(labels)}}} {cell}"]


class Gauge(Counter):
    """A number that is set."""

    kind = "gauge"

    def set(self, *labels: str, to: int) -> None:
        """Sets the cell of these label values."""
        with self._lock:
            self._cells[labels] = to


class Histogram(Metric):
    """A distribution of times in microseconds."""

    kind = "histogram"

    def record(self, *labels: str, seconds: float) -> None:
        """Adds one time to the cell of these label values."""
        micros = seconds * 1e6
        with self._lock:
            cell = self._cells.get(labels)
            if cell is None:
                cell = self._cells[labels] = [[0] * (len(LIMITS) + 1), 0.0]
            cell[0][bisect.bisect_right(LIMITS, micros)] += 1
            cell[1] += micros

    def _cell_lines(self, name, labels, cell):
        buckets, total = cell
        lines, count = [], 0
        for i, bucket in enumerate(buckets):
            count += bucket
            limit = f"{LIMITS[i]:.6g}" if i < len(LIMITS) else "+Inf"
            inside = ",".join([*labels, f'le="{limit}"'])
            lines.append(f"{name}_bucket{{{inside}}} {count}")
        every = ",".join(labels)
        lines.append(f"{name}_sum{{{every}}} {total:.6g}")
        lines.append(f"{name}_count{{{every}}} {count}")
        return lines


class Metrics:
    """All that the server counts, under TF Serving's names."""

    def __init__(self):
        base = "/tensorflow/serving/"
        self.requests = Counter(f"{base}request_count", ["model_name", "status"])
        self.examples = Counter(f"{base}request_example_count_total", ["model"])
        labels = ["model_name", "API", "entrypoint"]
        self.request_latency = Histogram(f"{base}request_latency", labels)
        labels = ["model_name", "API", "runtime"]
        self.runtime_latency = Histogram(f"{base}runtime_latency", labels)
        labels = ["model_path", "status"]
        self.warmup_latency = Histogram(f"{base}model_warmup_latency", labels)
        base = "/tensorflow/cc/saved_model/"
        self.loads = Counter(f"{base}load_attempt_count", labels)
        self.load_latency = Gauge(f"{base}load_latency", ["model_path"])

    def by_name(self, name: str) -> int:
        """Returns a counter's total; 0 for a name that is not one."""
        for metric in vars(self).values():
            if metric.name == name and isinstance(metric, Counter):
                return metric.total()
        return 0

    def page(self) -> str:
        """Returns all metrics in Prometheus's text format."""
        lines = [line for metric in vars(self).values() for line in metric.lines()]
        return "\n".join(lines) + "\n"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

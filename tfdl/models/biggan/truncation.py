"""The curve of quality against truncation, and the paper's points on it."""

import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfdl.engine import errors, files
from tfdl.models.biggan import latents
from tfdl.models.biggan.task import BigGANTask

LINES, PLOT = "truncation.jsonl", "truncation.png"


class TruncationTask(BigGANTask):
    """Measures a model at many truncations (section 4.1, table 2)."""

    def evaluate(self, learner) -> dict[str, Any]:
        """Returns the points that the paper reports; writes the curve.

        `truncation.jsonl` has a line per truncation, `truncation.png` the plot; both
        go where `evaluate` writes.
        """
        measure, sampler = self.ready(learner)
        curve = []
        for truncation in self._truncations():
            curve.append(measure(sampler, truncation))
            lines = "".join(json.dumps(x) + "\n" for x in curve)
            files.atomic_write(self.workdir / LINES, lines)
        real = measure.real_score()
        picture = plot(curve, measure.distance, measure.score, real)
        files.atomic_write(self.workdir / PLOT, picture)
        return operating_points(curve, measure.distance, measure.score, real)

    def _truncations(self) -> list[float]:
        sweep = self.config.sweep
        given = [float(x) for x in sweep.truncations]
        if not given:
            if not 0 < sweep.step <= 1:
                raise errors.UserError(
                    f"sweep.step has to be above 0 and at most 1, got {sweep.step!r}"
                )
            # Counted, not added up: a sum overshoots 1.
            count = math.floor(1.0 / sweep.step + 1e-9)
            given = [round(sweep.step * (i + 1), 6) for i in range(count)]
            if given[-1] < 1.0:
                given.append(1.0)
        for value in given:
            latents.check(self.config.latents, value)
        return sorted(given)


def operating_points(
    curve: Sequence[Mapping[str, Any]],
    distance: str,
    score: str,
    real_score: float | None,
) -> dict[str, Any]:
    """Returns the paper's four points: without truncation, and the three below.

    `best_distance`: the lowest Frechet distance; `real_score`: where the score is
    nearest to the real pictures' own; `best_score`: the highest score.

    Args:
        curve: points, with the two metrics and `truncation`.
        distance: the distance's name.
        score: the score's name; points may lack it.
        real_score: the real pictures' score, None where there is none.
    """
    chosen = {
        "no_truncation": max(curve, key=lambda x: x["truncation"]),
        "best_distance": min(curve, key=lambda x: x[distance]),
    }
    if all(score in point for point in curve):
        if real_score is not None:
            chosen["real_score"] = min(curve, key=lambda x: abs(x[score] - real_score))
        chosen["best_score"] = max(curve, key=lambda x: x[score])
    result: dict[str, Any] = {}
    for name, point in chosen.items():
        for key in ("truncation", distance, score):
            if key in point:
                result[f"{name}/{key}"] = point[key]
    if real_score is not None:
        result[f"real/{score}"] = real_score
    common = ("images", "too_few_images", "latents", "statistics", "extractor")
    result |= {name: curve[0][name] for name in common if name in curve[0]}
    return result


def plot(
    curve: Sequence[Mapping[str, Any]],
    distance: str,
    score: str,
    real_score: float | None = None,
) -> bytes:
    """Returns the curve as a PNG: distance against score, and both by truncation."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    truncation = np.array([point["truncation"] for point in curve])
    distances = np.array([point[distance] for point in curve])
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), dpi=100)
    axes[0].plot(truncation, distances, "o-", color="tab:blue", label=distance)
    axes[0].set(xlabel="truncation", ylabel=distance)
    scores = np.array([point.get(score, np.nan) for point in curve])
    if np.isfinite(scores).all():
        right = axes[0].twinx()
        right.plot(truncation, scores, "s--", color="tab:red", label=score)
        right.set_ylabel(score, color="tab:red")
        axes[1].plot(scores, distances, "o-", color="tab:blue")
        for x, y, t in zip(scores, distances, truncation, strict=True):
            axes[1].annotate(f"{t:g}", (x, y), fontsize=7)
        if real_score is not None:
            axes[1].axvline(real_score, color="gray", linestyle=":")
            axes[1].text(real_score, distances.max(), " real", color="gray")
        axes[1].set(xlabel=score, ylabel=distance)
    if (distances > 0).all() and distances.max() > 30 * distances.min():
        for axis in axes:
            axis.set_yscale("log")
    count = curve[0]["images"]
    figure.suptitle(f"{count:,} pictures per point, latents {curve[0]['latents']}")
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    pyplot.close(figure)
    return buffer.getvalue()

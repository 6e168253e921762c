"""Noticing that training has collapsed, as large GANs do in the end.

Three signs (section 4): the largest singular value of the generator's first linear
layer explodes, the losses run away, and FID, which had been falling, rises.
"""

import dataclasses
import math
from collections.abc import Mapping

from tfdl.engine import errors


@dataclasses.dataclass(frozen=True)
class Signs:
    """What counts as a collapse; 0 switches a sign off.

    Attributes:
        sigma: the first layer's largest singular value over the median of what it was
            at the evaluations before.
        loss: the discriminator's or generator's loss, either sign, averaged over the
            last steps.
        distance: FID over the best FID so far.
        patience: evaluations in a row that have to show a sign.
        stop: end the run then.
    """

    sigma: float = 4.0
    loss: float = 50.0
    distance: float = 2.0
    patience: int = 2
    stop: bool = True

    def __post_init__(self):
        for name in ("sigma", "distance"):
            value = getattr(self, name)
            if value and value <= 1.0:
                raise errors.UserError(
                    f"collapse.{name} has to be above 1, or 0 for never, got {value!r}"
                )
        if self.loss < 0 or self.patience < 1:
            raise errors.UserError(
                "collapse.loss has to be at least 0 and collapse.patience at least 1"
            )


class Detector:
    """Judges a run by its evaluations.

    Args:
        signs: what counts.

    Attributes:
        best: the lowest distance so far.
        reasons: what the last evaluations showed, empty when all is well.
    """

    def __init__(self, signs: Signs):
        self.signs = signs
        self.best = math.inf
        self.reasons: list[str] = []
        self._sigmas: list[float] = []
        self._in_a_row = 0

    @property
    def collapsed(self) -> bool:
        """Whether the signs have lasted."""
        return self._in_a_row >= self.signs.patience

    def see(self, metrics: Mapping[str, float]) -> bool:
        """Takes an evaluation into account.

        Args:
            metrics: `distance`, `sigma0`, and losses whose names end in `_loss`;
                what is missing shows nothing.

        Returns:
            Whether its distance is the lowest so far.
        """
        self.reasons = self._signs(metrics)
        self._in_a_row = self._in_a_row + 1 if self.reasons else 0
        if "sigma0" in metrics and not self.reasons:
            self._sigmas.append(metrics["sigma0"])
        distance = metrics.get("distance", math.inf)
        better = distance < self.best
        self.best = min(self.best, distance)
        return better

    def _signs(self, metrics: Mapping[str, float]) -> list[str]:
        signs, found = self.signs, []
        sigma = metrics.get("sigma0", 0.0)
        if signs.sigma and self._sigmas:
            usual = sorted(self._sigmas)[len(self._sigmas) // 2]
            if not sigma <= signs.sigma * usual:
                found.append(f"sigma0 is {sigma:.3g}, it was {usual:.3g}")
        for name, value in metrics.items():
            if signs.loss and name.endswith("_loss") and not abs(value) <= signs.loss:
                found.append(f"{name} is {value:.3g}")
        distance = metrics.get("distance")
        if signs.distance and distance is not None and math.isfinite(self.best):
            if not distance <= signs.distance * self.best:
                found.append(f"FID is {distance:.4g}, the best was {self.best:.4g}")
        return found

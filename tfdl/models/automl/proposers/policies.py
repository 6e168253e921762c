"""What a policy over a space's decisions is, and the simplest one."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfdl.models.automl.spaces.space import Space


@dataclasses.dataclass
class Episodes:
    """Architectures, and what a policy thinks of them.

    Attributes:
        actions: int [N, D], the values of the decisions.
        log_probs: float64 [N, D], of each value given those before it.
        entropies: float64 [N, D], of each decision given those before it.
        cache: what `Policy.gradient` needs.
    """

    actions: np.ndarray
    log_probs: np.ndarray
    entropies: np.ndarray
    cache: Any


class Parameters:
    """Named float64 arrays in one flat vector, so that an update is one operation.

    Args:
        shapes: name -> shape.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]):
        self.shapes = dict(shapes)
        self.flat = np.zeros(sum(int(np.prod(s)) for s in self.shapes.values()))
        self.named = self.views(self.flat)

    def views(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the arrays within a vector like `flat`."""
        named, start = {}, 0
        for name, shape in self.shapes.items():
            size = int(np.prod(shape))
            named[name] = flat[start : start + size].reshape(shape)
            start += size
        return named


class Policy:
    """A distribution over the architectures of a space, and of its smaller parts.

    Attributes:
        parameters: what is learned.
    """

    parameters: Parameters

    def run(
        self,
        space: Space,
        actions: np.ndarray | None = None,
        count: int = 1,
        rng: np.random.Generator | None = None,
    ) -> Episodes:
        """Draws architectures, or rates given ones.

        Args:
            space: the space, or what its `at` returned.
            actions: int [N, D] to rate; None to draw `count` with `rng`.
            count: how many to draw.
            rng: the source of randomness.
        """
        raise NotImplementedError("subclasses define run()")

    def gradient(
        self, episodes: Episodes, log_probs: np.ndarray, entropies: np.ndarray
    ) -> np.ndarray:
        """Returns the gradient for `parameters.flat`.

        Args:
            episodes: what `run` returned, with the parameters unchanged since.
            log_probs: float64 [N, D], the loss's gradient for these.
            entropies: float64 [N, D], the loss's gradient for these.
        """
        raise NotImplementedError("subclasses define gradient()")


class FactorisedPolicy(Policy):
    """A softmax for every decision, independent of the other decisions.

    Args:
        space: the space.
    """

    def __init__(self, space: Space):
        self.parameters = Parameters(
            {
                f"logits/{d}": (len(decision.choices),)
                for d, decision in enumerate(space.decisions)
            }
        )
        # One matrix for all decisions, to compute at once; columns that are no
        # choices are out of reach.
        widest = max(len(decision.choices) for decision in space.decisions)
        self._there = np.array(
            [np.arange(widest) < len(d.choices) for d in space.decisions]
        )

    def run(self, space, actions=None, count=1, rng=None) -> Episodes:
        """See `Policy.run`."""
        there = self._there[: len(space.decisions)]
        logits = np.full(self._there.shape, -np.inf)
        logits[self._there] = self.parameters.flat
        log_probs = log_softmax(logits[: len(there)])
        probs = np.exp(log_probs)
        if actions is None:
            actions = draw(probs[None], rng.random((count, len(there))))
        rows = np.arange(len(there))
        entropies = -np.sum(probs * np.where(there, log_probs, 0.0), -1)
        shape = (len(actions), 1)
        return Episodes(
            actions,
            log_probs[rows, actions],
            np.tile(entropies, shape),
            (probs, np.where(there, log_probs, 0.0), entropies),
        )

    def gradient(self, episodes, log_probs, entropies) -> np.ndarray:
        """See `Policy.gradient`."""
        probs, logs, entropy = episodes.cache
        grads = np.zeros(self._there.shape)
        part = grads[: len(probs)]
        part -= log_probs.sum(0)[:, None] * probs
        rows = np.broadcast_to(np.arange(len(probs)), episodes.actions.shape)
        np.add.at(part, (rows, episodes.actions), log_probs)
        part -= entropies.sum(0)[:, None] * probs * (logs + entropy[:, None])
        return grads[self._there]


def draw(probs: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Returns indices drawn with probabilities [..., n] by uniform numbers [...]."""
    below = np.cumsum(probs, -1)[..., :-1] <= uniform[..., None]
    return below.sum(-1)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Returns the logarithms of the softmax over the last axis."""
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


class Adam:
    """Adam (Kingma & Ba 2015) on a flat vector.

    Args:
        learning_rate: the step size.
    """

    def __init__(self, learning_rate: float):
        self.learning_rate = learning_rate
        self.step = 0
        self.first: np.ndarray | float = 0.0
        self.second: np.ndarray | float = 0.0

    def apply(self, flat: np.ndarray, gradient: np.ndarray) -> None:
        """Changes `flat` against its gradient."""
        self.step += 1
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.999 * self.second + 0.001 * gradient**2
        rate = self.learning_rate * np.sqrt(1 - 0.999**self.step) / (1 - 0.9**self.step)
        flat -= rate * self.first / (np.sqrt(self.second) + 1e-8)

    def state(self) -> dict[str, Any]:
        """Returns all that `restore` needs."""
        return {"step": self.step, "first": self.first, "second": self.second}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a `state`."""
        self.step = state["step"]
        self.first = _array(state["first"])
        self.second = _array(state["second"])


class Sgd:
    """Plain gradient descent on a flat vector.

    Args:
        learning_rate: the step size.
    """

    def __init__(self, learning_rate: float):
        self.learning_rate = learning_rate

    def apply(self, flat: np.ndarray, gradient: np.ndarray) -> None:
        """Changes `flat` against its gradient."""
        flat -= self.learning_rate * gradient

    def state(self) -> dict[str, Any]:
        """Returns nothing: there is no state."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Does nothing."""


def _array(values: np.ndarray | float | Sequence[float]) -> np.ndarray | float:
    return values if isinstance(values, float) else np.array(values, np.float64)

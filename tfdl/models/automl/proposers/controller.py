"""The LSTM that writes architectures (Zoph & Le 2017, Zoph et al. 2018), in numpy.

One step for each decision: the LSTM reads the value decided last, a softmax decides
the next. Skip connections to a layer are decided in one step together: the layer's
anchor point, whose output is compared with those of the earlier layers (section 3.3 of
Zoph & Le).

It is small, and is run for a handful of architectures at a time: numpy with a
backward pass of its own takes a fraction of a millisecond for what a graph's launch
alone would cost.
"""

import dataclasses

import numpy as np

from tfdl.engine import errors
from tfdl.models.automl.proposers.policies import (
    Episodes,
    Parameters,
    Policy,
    draw,
    log_softmax,
)
from tfdl.models.automl.spaces import space as spaces
from tfdl.models.automl.spaces.space import Space

SHARED = ("kind", "position")


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of the LSTM.

    Attributes:
        first: the number of the decision that it makes, or of the first one.
        choices: how many values the decision has; 0 at an anchor point.
        key: names the softmax and the embedding.
        layer: at an anchor point, the layer: it makes as many decisions as there are
            earlier layers.
    """

    first: int
    choices: int = 0
    key: str = ""
    layer: int = -1


class LstmPolicy(Policy):
    """The controller.

    The first input is a learned vector; the input after an anchor point is the mean
    of the outputs at the chosen layers' anchor points, as in ENAS (neither paper says
    what it was). Gates are in the order input, forget, output, candidate.

    Args:
        space: the space.
        layers: of the LSTM.
        units: of each layer.
        scale: parameters begin uniform in [-scale, scale].
        shared: whether decisions of one "kind" share embedding and softmax, or each
            "position" has its own.
        rng: draws the parameters.
    """

    def __init__(
        self,
        space: Space,
        layers: int,
        units: int,
        scale: float,
        shared: str,
        rng: np.random.Generator,
    ):
        self.layers = spaces.count("proposer.layers", layers)
        self.units = spaces.count("proposer.units", units)
        if shared not in SHARED:
            raise errors.unknown("sharing of a controller's weights", shared, SHARED)
        self.shared = shared
        self._programs: dict[int, list[Step]] = {}
        widths: dict[str, int] = {}
        for step in self.program(space):
            if step.choices:
                widths[step.key] = max(step.choices, widths.get(step.key, 0))
        shapes: dict[str, tuple[int, ...]] = {"start": (units,)}
        for layer in range(layers):
            shapes[f"lstm_{layer}/kernel"] = (2 * units, 4 * units)
            shapes[f"lstm_{layer}/bias"] = (4 * units,)
        for key, width in widths.items():
            shapes[f"embedding/{key}"] = (width, units)
            shapes[f"softmax/{key}/kernel"] = (units, width)
            shapes[f"softmax/{key}/bias"] = (width,)
        if space.anchors:
            shapes["anchor/previous"] = (units, units)
            shapes["anchor/current"] = (units, units)
            shapes["anchor/v"] = (units,)
        self.parameters = Parameters(shapes)
        flat = self.parameters.flat
        flat[:] = rng.uniform(-scale, scale, len(flat))

    def program(self, space: Space) -> list[Step]:
        """Returns the steps that write an architecture of a space."""
        known = self._programs.get(len(space.decisions))
        if known is not None:
            return known
        layers = {first: layer for layer, first in enumerate(space.anchors)}
        steps, d = [], 0
        while d < len(space.decisions) or d in layers:
            if d in layers:
                layer = layers.pop(d)
                steps.append(Step(d, layer=layer))
                d += layer
                continue
            decision = space.decisions[d]
            key = decision.kind if self.shared == "kind" else str(d)
            steps.append(Step(d, len(decision.choices), key))
            d += 1
        self._programs[len(space.decisions)] = steps
        return steps

    def run(self, space, actions=None, count=1, rng=None) -> Episodes:
        """See `Policy.run`."""
        weights, steps = self.parameters.named, self.program(space)
        drawing = actions is None
        decisions = len(space.decisions)
        if drawing:
            actions = np.zeros((count, decisions), np.int64)
            uniform = rng.random((count, decisions))
        n = len(actions)
        episodes = Episodes(
            actions, np.empty(actions.shape), np.empty(actions.shape), []
        )
        hidden = [np.zeros((n, self.units)) for _ in range(self.layers)]
        cells = [np.zeros((n, self.units)) for _ in range(self.layers)]
        inputs = np.tile(weights["start"], (n, 1))
        anchors: list[np.ndarray] = []
        for step in steps:
            top, lstm = self._lstm(inputs, hidden, cells)
            span = slice(step.first, step.first + (1 if step.choices else step.layer))
            numbers = uniform[:, span] if drawing else None
            decide = self._choose if step.choices else self._connect
            inputs, kept = decide(step, top, anchors, episodes, span, numbers)
            episodes.cache.append((step, span, top, lstm, kept))
        return episodes

    def _lstm(self, inputs, hidden, cells):
        """Makes a step of all layers, in place; returns the output and a cache."""
        kept = []
        for layer in range(self.layers):
            both = np.concatenate([inputs, hidden[layer]], 1)
            gates = both @ self.parameters.named[f"lstm_{layer}/kernel"]
            gates += self.parameters.named[f"lstm_{layer}/bias"]
            u = self.units
            sigmoids = _sigmoid(gates[:, : 3 * u])
            i, f, o = sigmoids[:, :u], sigmoids[:, u : 2 * u], sigmoids[:, 2 * u :]
            g = np.tanh(gates[:, 3 * u :])
            before = cells[layer]
            cells[layer] = f * before + i * g
            squashed = np.tanh(cells[layer])
            inputs = hidden[layer] = o * squashed
            kept.append((both, sigmoids, g, before, squashed))
        return inputs, kept

    def _choose(self, step, top, anchors, episodes, span, uniform):
        """Makes one decision of several choices."""
        weights, d = self.parameters.named, step.first
        logits = top @ weights[f"softmax/{step.key}/kernel"][:, : step.choices]
        logits += weights[f"softmax/{step.key}/bias"][: step.choices]
        logs = log_softmax(logits)
        probs = np.exp(logs)
        if uniform is not None:
            episodes.actions[:, d] = draw(probs, uniform[:, 0])
        values = episodes.actions[:, d]
        episodes.log_probs[:, d] = logs[np.arange(len(values)), values]
        episodes.entropies[:, d] = -np.sum(probs * logs, 1)
        return weights[f"embedding/{step.key}"][values], (probs, logs)

    def _connect(self, step, top, anchors, episodes, span, uniform):
        """Decides which earlier layers a layer reads."""
        weights = self.parameters.named
        earlier = (
            np.stack(anchors, 1) if anchors else np.zeros((len(top), 0, self.units))
        )
        anchors.append(top)
        compared = np.tanh(
            earlier @ weights["anchor/previous"]
            + (top @ weights["anchor/current"])[:, None]
        )
        scores = compared @ weights["anchor/v"]
        probs = _sigmoid(scores)
        if uniform is not None:
            episodes.actions[:, span] = uniform < probs
        read = episodes.actions[:, span]
        # log sigmoid of the score or of its opposite
        episodes.log_probs[:, span] = -np.logaddexp(0, np.where(read, -scores, scores))
        episodes.entropies[:, span] = np.logaddexp(0, scores) - scores * probs
        share = read / np.maximum(1, read.sum(1, keepdims=True))
        return (share[..., None] * earlier).sum(1), (earlier, compared, scores, probs)

    def gradient(self, episodes, log_probs, entropies) -> np.ndarray:
        """See `Policy.gradient`."""
        flat = np.zeros_like(self.parameters.flat)
        grads = self.parameters.views(flat)
        n = len(episodes.actions)
        zeros = np.zeros((n, self.units))
        hidden, cells = [zeros] * self.layers, [zeros] * self.layers
        anchors: dict[int, np.ndarray] = {}
        inputs = zeros  # the gradient for the next step's input
        for step, span, top, lstm, kept in reversed(episodes.cache):
            back = self._choose_back if step.choices else self._connect_back
            d_top = back(
                step,
                top,
                kept,
                episodes.actions[:, span],
                (log_probs[:, span], entropies[:, span]),
                inputs,
                anchors,
                grads,
            )
            inputs = self._lstm_back(lstm, d_top, hidden, cells, grads)
        grads["start"] += inputs.sum(0)
        return flat

    def _choose_back(
        self, step, top, kept, actions, upstream, inputs, anchors, grads
    ) -> np.ndarray:
        """Returns the gradient for the LSTM's output at a decision."""
        probs, logs = kept
        values = actions[:, 0]
        d_log, d_entropy = upstream
        entropy = -np.sum(probs * logs, 1, keepdims=True)
        d_logits = -d_log * probs - d_entropy * probs * (logs + entropy)
        d_logits[np.arange(len(values)), values] += d_log[:, 0]
        kernel = self.parameters.named[f"softmax/{step.key}/kernel"]
        grads[f"softmax/{step.key}/kernel"][:, : step.choices] += top.T @ d_logits
        grads[f"softmax/{step.key}/bias"][: step.choices] += d_logits.sum(0)
        np.add.at(grads[f"embedding/{step.key}"], values, inputs)
        return d_logits @ kernel[:, : step.choices].T

    def _connect_back(
        self, step, top, kept, read, upstream, inputs, anchors, grads
    ) -> np.ndarray:
        """Returns the gradient for the LSTM's output at an anchor point."""
        weights = self.parameters.named
        earlier, compared, scores, probs = kept
        d_log, d_entropy = upstream
        d_scores = d_log * (read - probs) - d_entropy * scores * probs * (1 - probs)
        grads["anchor/v"] += np.einsum("nj,nju->u", d_scores, compared)
        d_compared = d_scores[..., None] * weights["anchor/v"] * (1 - compared**2)
        grads["anchor/previous"] += np.einsum("njv,nju->vu", earlier, d_compared)
        share = read / np.maximum(1, read.sum(1, keepdims=True))
        d_earlier = d_compared @ weights["anchor/previous"].T
        d_earlier += share[..., None] * inputs[:, None]
        for j in range(step.layer):
            anchors[j] = anchors.get(j, 0.0) + d_earlier[:, j]
        d_current = d_compared.sum(1)
        grads["anchor/current"] += top.T @ d_current
        d_top = d_current @ weights["anchor/current"].T
        return d_top + anchors.pop(step.layer, 0.0)

    def _lstm_back(self, kept, d_top, hidden, cells, grads) -> np.ndarray:
        """Undoes a step of the LSTM; returns the gradient for its input."""
        u = self.units
        for layer in reversed(range(self.layers)):
            both, sigmoids, g, before, squashed = kept[layer]
            i, f, o = sigmoids[:, :u], sigmoids[:, u : 2 * u], sigmoids[:, 2 * u :]
            d_hidden = d_top + hidden[layer]
            d_cell = d_hidden * o * (1 - squashed**2) + cells[layer]
            d_gates = np.concatenate(
                [d_cell * g, d_cell * before, d_hidden * squashed, d_cell * i], 1
            )
            d_gates[:, : 3 * u] *= sigmoids * (1 - sigmoids)
            d_gates[:, 3 * u :] *= 1 - g**2
            cells[layer] = d_cell * f
            grads[f"lstm_{layer}/kernel"] += both.T @ d_gates
            grads[f"lstm_{layer}/bias"] += d_gates.sum(0)
            d_both = d_gates @ self.parameters.named[f"lstm_{layer}/kernel"].T
            d_top, hidden[layer] = d_both[:, :u], d_both[:, u:]
        return d_top


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * x))

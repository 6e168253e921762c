"""Reinforcement learning: REINFORCE and PPO over a policy of decisions."""

import dataclasses
from typing import Any

import numpy as np

from tfdl.engine import errors, options
from tfdl.models.automl.proposers.controller import LstmPolicy
from tfdl.models.automl.proposers.policies import (
    Adam,
    Episodes,
    FactorisedPolicy,
    Policy,
    Sgd,
)
from tfdl.models.automl.proposers.proposer import Proposal, Proposer
from tfdl.models.automl.spaces import space as spaces
from tfdl.models.automl.spaces.space import Architecture, Space

STARTS = ("first", "zero")


@dataclasses.dataclass(frozen=True)
class Drawn:
    """An architecture, and the logarithms of its decisions' probabilities then."""

    arch: Architecture
    log_probs: np.ndarray


class PolicyGradient(Proposer):
    """What REINFORCE and PPO have in common.

    Proposals are drawn from the policy as it is when they are asked for. After every
    `batch` rewards the policy is updated with the advantages `reward - baseline`, the
    baseline being an exponential moving average of the rewards before this batch.

    Args:
        space: what it chooses from.
        seed: of the policy's parameters and of its choices.
        policy: makes the policy from a generator of random numbers.
        optimizer: updates the policy's parameters.
        batch: after how many rewards an update is made.
        baseline_decay: of the moving average.
        baseline_start: `"first"`: the mean of the first batch; `"zero"`.
        entropy_weight: how much of the mean entropy of architectures is subtracted
            from the loss.
        scale_rewards: whether advantages are divided by their moving deviation, with
            the baseline's decay. The papers do not; without it the learning rate and
            the entropy weight depend on how far rewards lie apart.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        policy,
        optimizer: Adam | Sgd,
        batch: int,
        baseline_decay: float,
        baseline_start: str,
        entropy_weight: float,
        scale_rewards: bool,
    ):
        super().__init__(space, seed)
        self.rng = np.random.Generator(np.random.PCG64(seed % 2**64))
        self.policy: Policy = policy(self.rng)
        self.optimizer = optimizer
        self.batch = spaces.count("proposer.batch", batch)
        self.decay = options.number("proposer.baseline_decay", baseline_decay, below=1)
        if baseline_start not in STARTS:
            raise errors.unknown("start of the baseline", baseline_start, STARTS)
        self.baseline = 0.0 if baseline_start == "zero" else None
        self.entropy_weight = options.number("proposer.entropy_weight", entropy_weight)
        self.scale_rewards = bool(scale_rewards)
        self._variance: float | None = None
        self._asked = 0
        self._queue: list[Drawn] = []
        self._out: dict[int, Drawn] = {}
        self._told: list[tuple[Drawn, float]] = []
        self._entropy = 0.0

    def ask(self) -> Proposal:
        """Returns the next proposal."""
        if not self._queue:
            self._draw()
        number = self._asked
        self._asked += 1
        self._out[number] = drawn = self._queue.pop(0)
        return Proposal(number, drawn.arch)

    def _draw(self):
        """Draws as many architectures as will be asked for until the next update."""
        space = self.space.at(self._asked)
        count, limit = 1, max(1, self.batch - len(self._told))
        size = len(space.decisions)
        while count < limit and (
            len(self.space.at(self._asked + count).decisions) == size
        ):
            count += 1
        drawn = self.policy.run(space, count=count, rng=self.rng)
        for actions, log_probs in zip(drawn.actions, drawn.log_probs, strict=True):
            self._queue.append(Drawn(tuple(map(int, actions)), log_probs))

    def tell(self, proposal: Proposal, reward: float) -> None:
        """Learns what a proposal was worth; updates the policy after a batch."""
        drawn = self._out.pop(proposal.number, None)
        if drawn is None:
            raise ValueError(f"proposal {proposal.number} is not out")
        self._told.append((drawn, reward))
        if len(self._told) < self.batch:
            return
        rewards = np.array([reward for _, reward in self._told])
        if self.baseline is None:
            self.baseline = float(rewards.mean())
        advantages = rewards - self.baseline
        if self.scale_rewards:
            advantages /= self._deviation(advantages)
        self.update([drawn for drawn, _ in self._told], advantages)
        for reward in rewards:
            self.baseline += (1 - self.decay) * (float(reward) - self.baseline)
        self._told.clear()
        # What was drawn before the update comes from the old policy.
        self._queue.clear()

    def _deviation(self, advantages):
        """Returns the moving deviation of the advantages, these included."""
        now = float(np.mean(advantages**2))
        if self._variance is None:
            self._variance = now
        kept = self.decay ** len(advantages)
        self._variance = kept * self._variance + (1 - kept) * now
        return max(self._variance**0.5, 1e-6)

    def update(self, drawn: list[Drawn], advantages: np.ndarray) -> None:
        """Improves the policy by the advantages [N] of what was drawn."""
        raise NotImplementedError("subclasses define update()")

    def step(self, drawn: list[Drawn], slopes) -> None:
        """Makes one step of the optimizer.

        Args:
            drawn: a batch.
            slopes: (indices in the batch, their `Episodes`) -> the loss's gradient
                for their log probabilities, [n, D].
        """
        gradient = np.zeros_like(self.policy.parameters.flat)
        entropy = 0.0
        lengths = [len(d.arch) for d in drawn]
        for length in sorted(set(lengths)):  # of a growing space, several
            where = [i for i, own in enumerate(lengths) if own == length]
            space = self.space if length == len(self.space.decisions) else None
            actions = np.array([drawn[i].arch for i in where])
            episodes = self.policy.run(space or self._smaller(length), actions)
            d_entropy = np.full(
                episodes.entropies.shape, -self.entropy_weight / len(drawn)
            )
            entropy += episodes.entropies.sum() / len(drawn)
            d_log = slopes(where, episodes)
            gradient += self.policy.gradient(episodes, d_log, d_entropy)
        self._entropy = float(entropy)
        self.optimizer.apply(self.policy.parameters.flat, gradient)
        if not np.all(np.isfinite(self.policy.parameters.flat)):
            raise errors.UserError(
                f"the controller diverged after {self._asked} proposals; lower "
                "proposer.learning_rate"
            )

    def _smaller(self, length):
        """Returns the part of a growing space whose architectures are so long."""
        low, high = 0, self._asked
        while low < high:  # the depth does not fall
            middle = (low + high) // 2
            if len(self.space.at(middle).decisions) < length:
                low = middle + 1
            else:
                high = middle
        return self.space.at(low)

    def state(self) -> dict[str, Any]:
        """Returns all that `restore` needs."""
        return {
            "asked": self._asked,
            "random": self.rng.bit_generator.state,
            "parameters": self.policy.parameters.flat.copy(),
            "optimizer": self.optimizer.state(),
            "baseline": self.baseline,
            "variance": self._variance,
            "entropy": self._entropy,
            "queue": [_plain(drawn) for drawn in self._queue],
            "out": [[number, *_plain(drawn)] for number, drawn in self._out.items()],
            "told": [[*_plain(drawn), reward] for drawn, reward in self._told],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a `state`."""
        self._asked = state["asked"]
        self.rng.bit_generator.state = state["random"]
        self.policy.parameters.flat[:] = state["parameters"]
        self.optimizer.restore(state["optimizer"])
        self.baseline = state["baseline"]
        self._variance = state["variance"]
        self._entropy = state["entropy"]
        self._queue = [_drawn(*fields) for fields in state["queue"]]
        self._out = {number: _drawn(*fields) for number, *fields in state["out"]}
        self._told = [(_drawn(*fields), reward) for *fields, reward in state["told"]]

    def scalars(self) -> dict[str, float]:
        """Returns the baseline, and the entropy at the last update."""
        return {
            "controller/baseline": self.baseline or 0.0,
            "controller/entropy": self._entropy,
        }


def _plain(drawn):
    return [list(drawn.arch), np.array(drawn.log_probs)]


def _drawn(arch, log_probs):
    return Drawn(tuple(int(v) for v in arch), np.array(log_probs, np.float64))


class Reinforce(PolicyGradient):
    """REINFORCE with the controller of Zoph & Le (2017).

    Published are two LSTM layers of 35 units, uniform initial values within 0.08, Adam
    with learning rate 6e-4 (5e-4 for recurrent cells), batches of 8 children, and a
    moving average as baseline. Its decay, its start, biases and what the LSTM reads
    first are not; no entropy was used. The paper's constants are meant for thousands
    of children: with hundreds, take a larger learning rate.

    Args:
        space: what it chooses from.
        seed: of the controller's parameters and of its choices.
        layers: of the LSTM.
        units: of each layer.
        scale: parameters begin uniform in [-scale, scale].
        shared: see `LstmPolicy`.
        learning_rate: of Adam.
        batch: after how many rewards an update is made.
        baseline_decay: see `PolicyGradient`.
        baseline_start: see `PolicyGradient`.
        entropy_weight: see `PolicyGradient`.
        scale_rewards: see `PolicyGradient`.
    """

    name = "reinforce"

    def __init__(
        self,
        space: Space,
        seed: int,
        layers: int = 2,
        units: int = 35,
        scale: float = 0.08,
        shared: str = "kind",
        learning_rate: float = 6e-4,
        batch: int = 8,
        baseline_decay: float = 0.95,
        baseline_start: str = "first",
        entropy_weight: float = 0.0,
        scale_rewards: bool = False,
    ):
        scale = options.number("proposer.scale", scale)
        super().__init__(
            space,
            seed,
            lambda rng: LstmPolicy(space, layers, units, scale, shared, rng),
            Adam(options.number("proposer.learning_rate", learning_rate)),
            batch,
            baseline_decay,
            baseline_start,
            entropy_weight,
            scale_rewards,
        )

    def update(self, drawn: list[Drawn], advantages: np.ndarray) -> None:
        """Makes one step along the advantages times the gradients of log p."""
        reinforce(self, drawn, advantages)


class Factorised(PolicyGradient):
    """REINFORCE with an independent softmax for every decision: the simplest policy.

    Args:
        space: what it chooses from.
        seed: of its choices.
        learning_rate: of gradient descent.
        batch: after how many rewards an update is made.
        baseline_decay: see `PolicyGradient`.
        baseline_start: see `PolicyGradient`.
        entropy_weight: see `PolicyGradient`.
        scale_rewards: see `PolicyGradient`.
    """

    name = "factorised"

    def __init__(
        self,
        space: Space,
        seed: int,
        learning_rate: float = 2.0,
        batch: int = 1,
        baseline_decay: float = 0.9,
        baseline_start: str = "first",
        entropy_weight: float = 0.0,
        scale_rewards: bool = False,
    ):
        super().__init__(
            space,
            seed,
            lambda rng: FactorisedPolicy(space),
            Sgd(options.number("proposer.learning_rate", learning_rate)),
            batch,
            baseline_decay,
            baseline_start,
            entropy_weight,
            scale_rewards,
        )

    def update(self, drawn: list[Drawn], advantages: np.ndarray) -> None:
        """Makes one step along the advantages times the gradients of log p."""
        reinforce(self, drawn, advantages)


def reinforce(
    proposer: PolicyGradient, drawn: list[Drawn], advantages: np.ndarray
) -> None:
    """Makes a step down `-mean(advantage * log p(architecture))`."""

    def slopes(where, episodes: Episodes):
        own = -advantages[where, None] / len(drawn)
        return np.broadcast_to(own, episodes.log_probs.shape)

    proposer.step(drawn, slopes)


class Ppo(PolicyGradient):
    """PPO with the controller of NASNet (Zoph et al. 2018, appendix A).

    Published are one LSTM layer of 100 units, uniform initial values within 0.1, Adam
    with learning rate 3.5e-4, entropy weight 1e-5, a baseline with decay 0.95, and 20
    children in an update. The clipping range, the number of epochs over a batch, and
    how the ratio of probabilities is taken are not: here 0.2, 4, and decision by
    decision, all of an architecture's decisions having its advantage. The baseline
    takes the place of a value function.

    Args:
        space: what it chooses from.
        seed: of the controller's parameters and of its choices.
        layers: of the LSTM.
        units: of each layer.
        scale: parameters begin uniform in [-scale, scale].
        shared: see `LstmPolicy`.
        learning_rate: of Adam.
        batch: after how many rewards an update is made.
        clip: how far a ratio may move from 1.
        epochs: how many steps are made with a batch.
        baseline_decay: see `PolicyGradient`.
        baseline_start: see `PolicyGradient`.
        entropy_weight: see `PolicyGradient`.
        scale_rewards: see `PolicyGradient`.
    """

    name = "ppo"

    def __init__(
        self,
        space: Space,
        seed: int,
        layers: int = 1,
        units: int = 100,
        scale: float = 0.1,
        shared: str = "kind",
        learning_rate: float = 3.5e-4,
        batch: int = 20,
        clip: float = 0.2,
        epochs: int = 4,
        baseline_decay: float = 0.95,
        baseline_start: str = "first",
        entropy_weight: float = 1e-5,
        scale_rewards: bool = False,
    ):
        self.clip = options.number("proposer.clip", clip)
        self.epochs = spaces.count("proposer.epochs", epochs)
        scale = options.number("proposer.scale", scale)
        super().__init__(
            space,
            seed,
            lambda rng: LstmPolicy(space, layers, units, scale, shared, rng),
            Adam(options.number("proposer.learning_rate", learning_rate)),
            batch,
            baseline_decay,
            baseline_start,
            entropy_weight,
            scale_rewards,
        )

    def update(self, drawn: list[Drawn], advantages: np.ndarray) -> None:
        """Makes several steps that keep near the policy that drew the batch."""

        def slopes(where, episodes: Episodes):
            old = np.array([drawn[i].log_probs for i in where])
            ratio = np.exp(episodes.log_probs - old)
            own = advantages[where, None]
            # The smaller of the ratio and the clipped one, times the advantage, has
            # no slope where the ratio has already moved far enough.
            far = np.where(own > 0, ratio > 1 + self.clip, ratio < 1 - self.clip)
            return np.where(far, 0.0, -own * ratio / len(drawn))

        for _ in range(self.epochs):
            self.step(drawn, slopes)

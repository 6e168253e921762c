"""Phases: stretches of training with fixed shapes, variables and schedule."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Phase:
    """A stretch of training in which nothing about the step changes.

    Attributes:
        name: what the logs call it; unique in a run.
        steps: optimizer steps in this phase.
        batch_size: examples per optimizer step, over all replicas.
        learning_rate: the rate as a function of the step within the phase (a
            tensor, counted from 0); several phases of one schedule shift it.
        trainable: tells from a variable's name whether this phase trains it; None
            trains all.
        eval_every: steps between evaluations; 0 evaluates at the phase's end only.
        gradient_accumulation: micro-batches per step; 0 takes the run's number.
        options: what the task itself wants to know (sequence length, image size).
    """

    name: str
    steps: int
    batch_size: int
    learning_rate: Callable[[Any], Any]
    trainable: Callable[[str], bool] | None = None
    eval_every: int = 0
    gradient_accumulation: int = 0
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Position:
    """Where a run stands: a phase and the step within it."""

    phase: int
    phase_step: int


def total_steps(phases: Sequence[Phase]) -> int:
    """Returns the steps of all phases together."""
    return sum(phase.steps for phase in phases)


def position(phases: Sequence[Phase], step: int) -> Position:
    """Returns the phase that global `step` belongs to.

    The end of the last phase is the position one past it.
    """
    rest = step
    for index, phase in enumerate(phases):
        if rest < phase.steps:
            return Position(index, rest)
        rest -= phase.steps
    return Position(len(phases), 0)

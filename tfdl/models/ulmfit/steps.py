"""Phases of training: which layers learn, how long and how fast (section 3 of ULMFiT).

A recipe's `phases` are dicts of

    name           of the phase
    epochs         how many
    trained        "all", "last:N" (the last N groups of layers) or "only:I" (one group)
    learning_rate  of the last trained group
    ratio          each group learns so many times slower than the one behind it; 1 is
                   the same rate for all
    shares         instead of `ratio`: each group's share of the rate
    schedule       of `engine.schedules`, over this phase's steps
    momentum       a schedule (start, least, end) of the optimizer's momentum, or ()
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfdl.data import bptt
from tfdl.engine import errors, schedules
from tfdl.engine.options import number
from tfdl.engine.phases import Phase

FIELDS = (
    "name", "epochs", "trained", "learning_rate", "ratio", "shares", "schedule",
    "momentum",
)  # fmt: skip
RISE = 0.3  # of a cycle of the momentum


def trained_groups(text: str, count: int) -> frozenset[int]:
    """Returns which of `count` groups "all", "last:N" or "only:I" trains.

    Raises:
        UserError: it is none of these, or names groups that are not there.
    """
    if text == "all":
        return frozenset(range(count))
    kind, _, rest = text.partition(":")
    if kind in ("last", "only") and rest.isdigit():
        value = int(rest)
        if kind == "last" and 1 <= value <= count:
            return frozenset(range(count - value, count))
        if kind == "only" and value < count:
            return frozenset([value])
    raise errors.UserError(
        f"trained {text!r}: allowed are all, last:1 to last:{count} and only:0 to "
        f"only:{count - 1}"
    )


def group_shares(spec: Mapping[str, Any], count: int) -> tuple[float, ...]:
    """Returns each group's share of a phase's learning rate."""
    given = tuple(spec.get("shares", ()))
    if given:
        if len(given) != count:
            raise errors.UserError(
                f"phase {spec['name']!r}: {len(given)} shares for {count} groups"
            )
        return tuple(number("shares", share) for share in given)
    ratio = number("ratio", spec.get("ratio", 1.0), low=1e-6)
    last = max(trained_groups(spec.get("trained", "all"), count))
    return tuple(ratio ** min(group - last, 0) for group in range(count))


def make(
    specs: Sequence[Mapping[str, Any]],
    groups: Mapping[str, int],
    count: int,
    batch_size: int,
    steps_of: Callable[[int], int],
    evaluate: bool = True,
) -> list[Phase]:
    """Returns the phases of a run.

    Args:
        specs: see the module.
        groups: the group of each variable, by name.
        count: of groups.
        batch_size: of all phases.
        steps_of: steps of an epoch.
        evaluate: after each epoch.
    """
    if not specs:
        raise errors.UserError("the recipe has no phases")
    result: list[Phase] = []
    epoch = 0
    for spec in specs:
        for field in spec:
            if field not in FIELDS:
                raise errors.unknown("field of a phase", field, FIELDS)
        epochs = int(number("epochs", spec["epochs"], low=1))
        steps = [steps_of(epoch + i) for i in range(epochs)]
        total, offset = sum(steps), 0
        rate = schedules.create(
            {
                "rate": number("learning_rate", spec["learning_rate"]),
                **spec["schedule"],
            },
            total,
        )
        chosen = trained_groups(spec.get("trained", "all"), count)
        momentum = tuple(spec.get("momentum", ()))
        runs = bptt.epoch_runs(steps)
        for first, many, each in runs:
            shift = {"epoch": epoch + first, "offset": offset}
            name = spec["name"]
            if len(runs) > 1:
                name = f"{name}, epoch {first + 1}"
                name += f" to {first + many}" if many > 1 else ""
            result.append(
                Phase(
                    name,
                    many * each,
                    batch_size,
                    schedules.shifted(rate, offset),
                    trainable=lambda name, chosen=chosen: groups[name] in chosen,
                    eval_every=each if evaluate else 0,
                    options={
                        **shift,
                        "shares": group_shares(spec, count),
                        "momentum": _momentum(momentum, total, offset),
                    },
                )
            )
            offset += many * each
        epoch += epochs
    return result


def _momentum(given: tuple[float, ...], total: int, offset: int):
    """Returns the momentum as a function of the step, or None."""
    if not given:
        return None
    start, least, end = given
    cycle = schedules.cycle(start, least, end, total, RISE)
    return schedules.shifted(cycle, offset)


def momentum_at(phase: Phase, step: tf.Tensor) -> tf.Tensor | None:
    """Returns the momentum of a step, None for the optimizer's own."""
    function = phase.options["momentum"]
    return None if function is None else function(step)

"""Proposers: what decides which architecture is tried next."""

from collections.abc import Mapping
from typing import Any

from tfdl.engine import errors, options
from tfdl.models.automl.proposers import evolution, policy_gradient, random_search
from tfdl.models.automl.proposers.proposer import Proposal, Proposer
from tfdl.models.automl.spaces.space import Space

PROPOSERS = {
    maker.name: maker
    for maker in (
        evolution.Evolution,
        evolution.Tournament,
        policy_gradient.Factorised,
        policy_gradient.Ppo,
        policy_gradient.Reinforce,
        random_search.RandomSearch,
    )
}

# For hundreds of children instead of the papers' thousands: found on tables where all
# architectures were tried (`docs/automl.md`).
SMALL_BUDGET = {
    "evolution": {"name": "evolution", "population": 20, "sample": 5},
    "factorised": {
        "name": "factorised",
        "learning_rate": 0.4,
        "batch": 4,
        "entropy_weight": 0.1,
        "scale_rewards": True,
    },
    "ppo": {
        "name": "ppo",
        "units": 24,
        "learning_rate": 0.01,
        "batch": 10,
        "entropy_weight": 0.2,
        "scale_rewards": True,
    },
    "random": {"name": "random"},
    "reinforce": {
        "name": "reinforce",
        "layers": 1,
        "units": 24,
        "learning_rate": 0.02,
        "batch": 4,
        "entropy_weight": 0.2,
        "scale_rewards": True,
    },
    "tournament": {"name": "tournament", "population": 20, "sample": 5},
}


def create(config: Mapping[str, Any], space: Space, seed: int) -> Proposer:
    """Returns the proposer that a configuration names.

    Args:
        config: the name in `PROPOSERS`, and the arguments of what it names.
        space: what it chooses from.
        seed: of its random choices.

    Raises:
        UserError: an unknown name or option, or one that cannot be.
    """
    if not hasattr(config, "items"):
        raise errors.UserError(f"a proposer has to be given as options, got {config!r}")
    return options.construct(
        "proposer", PROPOSERS, dict(config.items()), space=space, seed=seed
    )


__all__ = ["PROPOSERS", "SMALL_BUDGET", "Proposal", "Proposer", "create"]

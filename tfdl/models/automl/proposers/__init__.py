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


__all__ = ["PROPOSERS", "Proposal", "Proposer", "create"]

"""Putting arrays into variables by name, strictly."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfdl.engine.errors import UserError


def assign(
    variables: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    source: str,
    may_lack: Sequence[str] = (),
) -> list[str]:
    """Assigns every array to the variable of its name.

    Args:
        variables: name -> variable with `.shape` and `.assign`.
        arrays: name -> array; nothing is left over.
        source: where the arrays come from, for the message.
        may_lack: names that may be missing; those variables stay as they are.

    Returns:
        The names that were missing.

    Raises:
        UserError: names are missing or unexpected, or shapes differ; all kinds are
            told at once and nothing is assigned.
    """
    lacking = [name for name in variables if name not in arrays]
    missing = [name for name in lacking if name not in set(may_lack)]
    unexpected = [name for name in arrays if name not in variables]
    wrong = [
        f"{name} {tuple(arrays[name].shape)} instead of {tuple(variables[name].shape)}"
        for name in variables
        if name in arrays and tuple(arrays[name].shape) != tuple(variables[name].shape)
    ]
    problems = [
        f"{len(names)} {kind}: {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"
        for kind, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", wrong),
        )
        if names
    ]
    if problems:
        raise UserError(f"the weights of {source} do not fit: {'; '.join(problems)}")
    for name, array in arrays.items():
        variables[name].assign(np.asarray(array, np.float32))
    return lacking

"""Putting arrays into variables by name, strictly."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from tfdl.checkpoints import sniff
from tfdl.engine.errors import UserError

SHOWN = 5


def assign(
    variables: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    source: str,
    optional: Collection[str] = (),
) -> list[str]:
    """Assigns each array to the variable of its name.

    Nothing is assigned unless everything fits.

    Args:
        variables: name -> Keras variable.
        arrays: name -> array of the same shape; any float dtype.
        source: where the arrays come from, for messages.
        optional: names that may be absent from `arrays`.

    Returns:
        The optional names that were absent: these variables keep what they hold.

    Raises:
        UserError: names are missing or unexpected, or shapes or dtypes do not fit;
            all of it is told at once.
    """
    absent = [name for name in variables if name not in arrays]
    missing = [name for name in absent if name not in optional]
    unexpected = [name for name in arrays if name not in variables]
    misfits = []
    for name in variables.keys() & arrays.keys():
        expected, found = tuple(variables[name].shape), np.shape(arrays[name])
        if expected != found:
            misfits.append(f"{name} {list(found)} instead of {list(expected)}")
        elif not _is_real(arrays[name].dtype):
            misfits.append(f"{name} of dtype {arrays[name].dtype}")
    problems = [
        told
        for told in (
            listing("missing", missing),
            listing("unexpected", unexpected),
            listing("misfitting", sorted(misfits)),
        )
        if told
    ]
    if problems:
        raise UserError(f"{source} does not fit the model: {'; '.join(problems)}")
    for name in variables:
        if name in arrays:
            variables[name].assign(np.asarray(arrays[name], dtype=np.float32))
    return absent


def listing(what: str, names: Collection[str]) -> str:
    """Returns `"3 missing (a, b, c)"`, cut short, or `""` without names."""
    if not names:
        return ""
    shown = ", ".join(map(_plain, list(names)[:SHOWN]))
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} {what} ({shown}{more})"


def _plain(name: str) -> str:
    return name if name.isprintable() and len(name) <= 120 else sniff.shown(name)


def _is_real(dtype: np.dtype) -> bool:
    # ml_dtypes' bfloat16 and float8 have kind "V".
    return dtype.kind in "fiu" or (dtype.kind == "V" and dtype.names is None)

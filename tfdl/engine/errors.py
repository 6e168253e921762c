"""Errors that a user can cause, told in one line."""

import difflib
import re
from collections.abc import Iterable


class UserError(Exception):
    """Something the user gave cannot be used; the message is one clear line.

    The verbs print it as `error: ...` and exit with a non-zero status, without a
    traceback.
    """


def raised_within(error: Exception) -> UserError | None:
    """Returns the `UserError` that Python code within a graph raised.

    TensorFlow wraps what the Python part of an input pipeline raises in an error of
    its own, with its text and traceback.
    """
    found = re.search(r"\bUserError: (.+)", str(error))
    return UserError(found[1].strip()) if found else None


def unknown(kind: str, given: object, allowed: Iterable[object]) -> UserError:
    """Returns the error for a name that is not among the allowed ones.

    Args:
        kind: what the name stands for, e.g. `"model"`.
        given: the name the user gave.
        allowed: every name that would have been accepted.

    Returns:
        A `UserError` that suggests the nearest name and lists the allowed ones.
    """
    names = [str(name) for name in allowed]
    near = difflib.get_close_matches(str(given), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return UserError(
        f"unknown {kind} {str(given)!r}{hint} (allowed: {', '.join(sorted(names))})"
    )

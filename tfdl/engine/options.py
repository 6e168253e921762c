"""Options that a configuration gives: checked, and made into objects."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfdl.engine import errors


def construct(
    kind: str,
    registry: Mapping[str, Callable[..., Any]],
    options: Mapping[str, Any],
    **given: Any,
) -> Any:
    """Calls what `options["name"]` names in a registry with the other options.

    Args:
        kind: what the registry holds, for messages.
        registry: name -> class or function.
        options: the name, and arguments by keyword.
        **given: arguments that are passed where they are taken, and that options
            may not name.

    Raises:
        UserError: no name, an unknown name, an unknown option or a missing one.
    """
    arguments = dict(options)
    name = arguments.pop("name", None)
    if name is None:
        raise errors.UserError(f"the {kind} has no name")
    if name not in registry:
        raise errors.unknown(kind, name, registry)
    taken = _parameters(registry[name])
    allowed = {key: needed for key, needed in taken.items() if key not in given}
    for key in arguments:
        if key not in allowed:
            raise errors.unknown(f"option of {kind} {name!r}", key, allowed)
    missing = [k for k, needed in allowed.items() if needed and k not in arguments]
    if missing:
        raise errors.UserError(f"{kind} {name!r} needs {', '.join(missing)}")
    fixed = {key: value for key, value in given.items() if key in taken}
    return registry[name](**fixed, **arguments)


def number(
    name: str, value: Any, low: float = 0.0, below: float = float("inf")
) -> float:
    """Returns an option as a float in [low, below), or raises `UserError`."""
    try:
        result = float(value)
    except (TypeError, ValueError):
        raise errors.UserError(f"{name} has to be a number, got {value!r}") from None
    if not low <= result < below:
        limit = f" and below {below:g}" if below != float("inf") else ""
        raise errors.UserError(
            f"{name} has to be at least {low:g}{limit}, got {value!r}"
        )
    return result


def patterns(name: str, expressions: str | Sequence[str]) -> tuple[str, ...]:
    """Returns an option as regular expressions, or raises `UserError`."""
    if isinstance(expressions, str):
        expressions = (expressions,)
    for expression in expressions:
        try:
            re.compile(expression)
        except (re.error, TypeError) as error:
            raise errors.UserError(
                f"{name}: {expression!r} is not a regular expression ({error})"
            ) from None
    return tuple(expressions)


def _parameters(function: Callable[..., Any]) -> dict[str, bool]:
    """Returns the keyword parameters, and whether each has to be given.

    The `**options` of a constructor stand for its base classes' parameters.
    """
    chain = [function]
    if inspect.isclass(function):
        chain = [c.__init__ for c in function.__mro__ if "__init__" in vars(c)]
    found: dict[str, bool] = {}
    for one in chain:
        parameters = inspect.signature(one).parameters.values()
        for parameter in parameters:
            if parameter.name != "self" and parameter.kind in (
                parameter.POSITIONAL_OR_KEYWORD,
                parameter.KEYWORD_ONLY,
            ):
                needed = parameter.default is parameter.empty
                found.setdefault(parameter.name, needed)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return found

"""Python's classes of characters for RE2, which knows Unicode's only in part."""

import functools
import sys
from collections.abc import Callable


@functools.cache
def members() -> dict[str, str]:
    r"""Returns the inside of RE2 classes: `[...]` around it, `[^...]` for the others.

    `word` is `\w` of Python's re, `space` its `\s`, `upper` what `str.isupper` looks
    for, `not_upper` and `not_lower` the cased characters that it, or `str.islower`,
    does not allow.
    """
    upper, lower = _ranges(str.isupper), _ranges(str.islower)
    title = _ranges(str.istitle, lambda c: c.istitle() and not c.isupper())
    return {
        "word": _ranges(str.isalnum) + "_",
        "space": _ranges(str.isspace),
        "upper": upper,
        "lower": lower,
        "not_upper": lower + title,
        "not_lower": upper + title,
    }


def _ranges(*predicates: Callable[[str], bool]) -> str:
    found, start = [], None
    predicate = predicates[-1]
    for code in range(sys.maxunicode + 2):
        inside = (
            code <= sys.maxunicode
            and not 0xD800 <= code < 0xE000
            and predicate(chr(code))
        )
        if inside and start is None:
            start = code
        elif not inside and start is not None:
            found.append(f"\\x{{{start:x}}}-\\x{{{code - 1:x}}}")
            start = None
    return "".join(found)

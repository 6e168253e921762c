"""Handles of published modules: publisher/name/version."""

import dataclasses
import re

from tfdl.engine import errors

# Handles become URLs and paths: nothing else may be in them. Parts of a name start with
# a letter, so that none looks like a version.
_PUBLISHER = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PART = re.compile(r"[A-Za-z](?:[A-Za-z0-9._-]{0,99}[A-Za-z0-9_-])?")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
MAX_PARTS = 8


@dataclasses.dataclass(frozen=True)
class Handle:
    """A published module.

    Attributes:
        publisher: lower-case letters, digits and hyphens.
        name: letters, digits, '.', '_' and '-'; may have several parts, with '/'.
        version: from 1 on.
    """

    publisher: str
    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.publisher}/{self.name}/{self.version}"

    def with_suffix(self, suffix: str) -> "Handle":
        """Returns the handle of a module that belongs to this one."""
        name = f"{self.name}-{suffix}" if suffix else self.name
        return dataclasses.replace(self, name=name)


def parse(text: str) -> Handle:
    """Returns a handle from its text.

    Raises:
        UserError: it is not of the form publisher/name/version.
    """
    parts = text.split("/")
    good = (
        3 <= len(parts) <= MAX_PARTS
        and _PUBLISHER.fullmatch(parts[0])
        and all(_PART.fullmatch(part) for part in parts[1:-1])
        and _VERSION.fullmatch(parts[-1])
    )
    if not good:
        raise errors.UserError(
            f"handle {text[:200]!r} is not publisher/name/version: the publisher in "
            "lower-case letters, digits and '-'; the name in letters, digits, '.', '_' "
            "and '-' from a letter on; the version a number from 1 on"
        )
    return Handle(parts[0], "/".join(parts[1:-1]), int(parts[-1]))

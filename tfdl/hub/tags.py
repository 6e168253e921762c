"""Metadata values of TF Hub's documentation pages."""

import re

from tfdl.engine import errors

# TF Hub's values for the metadata property `license`.
LICENSES = (
    "apache-2.0 bsd-2-clause bsd-3-clause gpl-2.0 gpl-3.0 lgpl-2.0 lgpl-2.1 lgpl-3.0 "
    "mit mpl-2.0 cddl-1.0 epl-2.0 cc-by-nc-4.0 custom"
).split()
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check(flag: str, value: str) -> str:
    """Returns a metadata value that a page can hold.

    Raises:
        UserError: it is not one word.
    """
    if value and not _TAG.fullmatch(value):
        raise errors.UserError(
            f"--{flag}={value[:100]}: one word of letters, digits, '.', '_' and '-'"
        )
    return value


def check_license(value: str) -> str:
    """Returns a license tag, or "".

    Raises:
        UserError: TF Hub has no such tag.
    """
    if value and value not in LICENSES:
        raise errors.unknown("license", value, LICENSES)
    return value

"""An embedded task: which package does a description of code come from?

A document is what the documentation string of a module, class or function begins
with, before any list of parameters or examples; its label is the package. About 6,000
documents of 12 to 120 words, all on every machine with tfdl. The packages' own names
are masked. Files are parsed, not imported. Versions of the packages differ, so nothing
may depend on exact counts.
"""

import functools
import hashlib
import re

from tfdl.data import docstrings, topics
from tfdl.engine import errors

LABELS = ("keras", "matplotlib", "numpy", "scipy", "sklearn")
SPLITS = ("train", "validation", "test")
SHORTEST, LONGEST = 12, 120  # words

# What would give a package away; other packages' names say as much.
_NAMES = re.compile(
    r"\b(?:tf\.)?(?:keras|matplotlib|mpl_toolkits|mpl|pyplot|plt|pylab|numpy|np|scipy"
    r"|sklearn|scikits?[ -]?learn|tensorflow|tf|jax|torch|pytorch)\b",
    re.IGNORECASE,
)
MASK = "package"
# Headings of sections, of which every package has its own style.
_SECTION = re.compile(
    r"\n\s*(?:[-=~^]{3,}\s*\n"
    r"|(?:args?|arguments|returns?|raises|yields|examples?|attributes|methods|notes?"
    r"|parameters|references|see also|usage|call arguments|inputs?|outputs?"
    r"|input shape|output shape|reference|warns|warnings?|other parameters)"
    r"\s*:?\s*(?:\n|$))",
    re.IGNORECASE,
)


def documents(split: str) -> list[tuple[str, str]]:
    """Returns (text, package) pairs.

    A file's documents are all in one split, chosen by the hash of its name: seven
    tenths train, one validation, two test. A text that two packages share is left out.

    Args:
        split: `"train"`, `"validation"` or `"test"`.

    Raises:
        UserError: a package came without its sources.
    """
    if split not in SPLITS:
        raise errors.unknown("split", split, SPLITS)
    return [(text, label) for text, label, part in _read() if part == split]


@functools.cache
def _read() -> tuple[tuple[str, str, str], ...]:
    """Returns (text, label, split); files take seconds to parse."""
    found: dict[str, tuple[str, str]] = {}
    for label in LABELS:
        before = len(found)
        for name, path in docstrings.package_files(label):
            part = _split(f"{label}/{name}")
            for string in docstrings.strings(path):
                text = opening(string)
                if not SHORTEST <= len(text.split()) <= LONGEST:
                    continue
                if found.setdefault(text, (label, part))[0] != label:
                    found[text] = ("", part)
        if len(found) == before:
            raise errors.UserError(
                f"the package {label} came without sources to read documentation from; "
                "give other data, e.g. --config.data=embedded:topics"
            )
    return tuple((text, *place) for text, place in found.items() if place[0])


def opening(string: str) -> str:
    """Returns the prose that a documentation string begins with, names masked."""
    start = _SECTION.split("\n" + string, maxsplit=1)[0]
    return _NAMES.sub(MASK, " ".join(topics.paragraphs(start)))


def _split(name: str) -> str:
    tenth = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % 10
    return SPLITS[0] if tenth < 7 else SPLITS[1] if tenth == 7 else SPLITS[2]

"""The embedded corpus: CPython's own documentation, from `pydoc_data.topics`.

It is real English that is on every machine with Python: about 80 documents, 65,000
words (Python Software Foundation licence). It differs a little between versions of
Python, so nothing may depend on exact counts.
"""

import hashlib
import re

from tfdl.engine import errors

# What a passage is about, by the document it comes from. Documents that later
# versions of Python may add belong to no family and are not used for labels.
FAMILIES = {
    "statements": (
        "assert assignment async augassign break class compound continue del else "
        "for function global if import nonlocal pass raise return try while with"
    ),
    "expressions": (
        "atom-identifiers atom-literals attribute-references await binary bitwise "
        "booleans calls comparisons conversions dict exprlists in lambda lists "
        "operator-summary power shifting slicings subscriptions unary yield"
    ),
    "built-in types": (
        "bltin-code-objects bltin-ellipsis-object bltin-null-object "
        "bltin-type-objects string-methods truth typesfunctions typesmapping "
        "typesmethods typesmodules typesseq typesseq-mutable"
    ),
    "data model": (
        "attribute-access callable-types context-managers customization id-classes "
        "numeric-types objects sequence-types specialattrs specialnames types"
    ),
    "lexis and execution": (
        "debugger dynamic-features exceptions execmodel floating formatstrings "
        "identifiers imaginary integers naming numbers strings"
    ),
}
LABELS = tuple(FAMILIES)
_FAMILY = {name: label for label, names in FAMILIES.items() for name in names.split()}

_MARKUP = str.maketrans({"*": "", "`": "", "\u201c": '"', "\u201d": '"'})
_SENTENCE_END = re.compile(r'(?<=[.!?:])["\')]?\s+(?=["\'(]?[A-Z])')
_ABBREVIATION = re.compile(r"\b(e\.g|i\.e|etc|cf|vs|resp|Mr|Dr)\.$")


def raw() -> dict[str, str]:
    """Returns the documents as they stand, by name, sorted.

    Raises:
        UserError: this Python comes without its documentation topics.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise errors.UserError(
            "this Python has no pydoc_data.topics (a stripped distribution); give "
            "another corpus, e.g. --config.data=folder:PATH"
        ) from None
    return {name: topics[name] for name in sorted(topics)}


def fingerprint() -> str:
    """Returns the sha256 of the whole corpus, which names its version."""
    digest = hashlib.sha256()
    for name, text in raw().items():
        digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()


def paragraphs(text: str) -> list[str]:
    """Returns the paragraphs of English prose in a document.

    Headings, tables, grammar, code and directives are left out; emphasis marks
    are removed and line breaks joined.
    """
    found = []
    for block in re.split(r"\n\s*\n", text):
        lines = [line.rstrip() for line in block.strip("\n").split("\n")]
        lines = [re.sub(r"^(\* |\d+\. )", "", line.strip()) for line in lines]
        joined = " ".join(line for line in lines if line)
        if _is_prose(joined, lines):
            found.append(" ".join(joined.translate(_MARKUP).split()))
    return found


def sentences(paragraph: str) -> list[str]:
    """Splits a paragraph into sentences."""
    parts: list[str] = []
    for part in _SENTENCE_END.split(paragraph):
        if parts and _ABBREVIATION.search(parts[-1]):
            parts[-1] += " " + part
        elif part:
            parts.append(part)
    return parts


def documents() -> list[list[str]]:
    """Returns the sentences of every document; repeated paragraphs appear once."""
    seen: set[str] = set()
    result = []
    for text in raw().values():
        document = []
        for paragraph in paragraphs(text):
            if paragraph not in seen:
                seen.add(paragraph)
                document.extend(sentences(paragraph))
        if document:
            result.append(document)
    return result


def labelled_passages(split: str) -> list[tuple[str, str]]:
    """Returns (passage, label) pairs; the label is what the passage is about.

    Args:
        split: `"train"`, or `"validation"`, a fifth chosen by the passage's hash.
    """
    if split not in ("train", "validation"):
        raise errors.unknown("split", split, ("train", "validation"))
    seen: set[str] = set()
    rows = []
    for name, text in raw().items():
        if name not in _FAMILY:
            continue
        for paragraph in paragraphs(text):
            held_out = hashlib.sha256(paragraph.encode()).digest()[0] % 5 == 0
            if paragraph in seen or len(paragraph.split()) < 8:
                continue
            seen.add(paragraph)
            if held_out == (split == "validation"):
                rows.append((paragraph, _FAMILY[name]))
    return rows


def _is_prose(joined: str, lines: list[str]) -> bool:
    if len(joined.split()) < 4 or not re.match(r'["\'(*`]*[A-Z]', joined):
        return False
    if any(re.fullmatch(r"[=*\-~^]{3,}", line) for line in lines):
        return False
    if joined.startswith((">>>", "+-", "|", ".. ")) or "::=" in joined:
        return False
    letters = sum(char.isalpha() or char.isspace() for char in joined)
    return letters >= 0.8 * len(joined)

"""How fast.ai's three generations prepare text (ULMFiT section 3, and its code).

`fastai07` is fastai 0.7 with the paper's scripts, `fastai1` fastai 1.0, `fastai2`
fastai 2. Each replaces remnants of HTML, marks repetitions and capitals by special
tokens, and hands the rest to a base tokenizer. `fastai_graph` does the same within a
TensorFlow graph.
"""

import html
import re
from collections.abc import Callable, Sequence

from tfdl.engine import errors

GENERATIONS = ("fastai07", "fastai1", "fastai2")

# Replaced one after the other, as they stand.
_HTML = (
    ("#39;", "'"),
    ("amp;", "&"),
    ("#146;", "'"),
    ("nbsp;", " "),
    ("#36;", "$"),
    ("\\n", "\n"),
    ("quot;", "'"),
    ("<br />", "\n"),
    ('\\"', '"'),
)
_HYPHENS = ((" @.@ ", "."), (" @-@ ", "-"))
REPLACED = {
    "fastai07": (*_HTML, ("<unk>", "u_n"), *_HYPHENS, ("\\", " \\ ")),
    "fastai1": (*_HTML, ("<unk>", "xxunk"), *_HYPHENS, (" @,@ ", ","), ("\\", " \\ ")),
    "fastai2": (*_HTML, ("<unk>", "xxunk"), *_HYPHENS, ("...", " \u2026")),
}
SPACED = {"fastai07": "[/#]", "fastai1": "[/#\n]", "fastai2": r"[/#\\]"}
# The least number of equal characters that is marked.
LEAST_REPEATED = {"fastai07": 4, "fastai1": 4, "fastai2": 3}
CAPITALS = r"[A-Z]+[^a-z\s]*"
CAPITALISED = r"[A-Z][^A-Z\s]*"

_REPEATED = {
    name: re.compile(rf"(\S)(\1{{{least - 1},}})")
    for name, least in LEAST_REPEATED.items()
}
_WORDS = re.compile(r"(\b\w+\W+)(\1{3,})")
_WORDS_2 = re.compile(r"(?:\s|^)(\w+)\s+((?:\1\s+)+)\1(\s|\W|$)")
_CAPITALS = re.compile(rf"(\s|^)({CAPITALS})(?=(\s|$))")
_CAPITALISED = re.compile(rf"(\s|^)({CAPITALISED})(?=(\s|$))")


def special_tokens(generation: str) -> tuple[str, ...]:
    """Returns the special tokens in the order of their ids."""
    check(generation)
    if generation == "fastai07":
        return ("_unk_", "_pad_")
    last = "xxmaj xxup xxrep xxwrep" if generation == "fastai1" else ""
    last = last or "xxrep xxwrep xxup xxmaj"
    return (*"xxunk xxpad xxbos xxeos xxfld".split(), *last.split())


def check(generation: str) -> str:
    """Returns the name of a generation, or raises `UserError`."""
    if generation not in GENERATIONS:
        raise errors.unknown("text rules", generation, GENERATIONS)
    return generation


def marks(generation: str) -> tuple[str, str]:
    """Returns the tokens for repeated characters and repeated words."""
    return ("tk_rep", "tk_wrep") if generation == "fastai07" else ("xxrep", "xxwrep")


def join_fields(fields: Sequence[str], generation: str) -> str:
    """Returns one text of a document's fields.

    0.7 marks every field; the later ones mark them where there is more than one.
    """
    name = "xfld" if generation == "fastai07" else "xxfld"
    if generation != "fastai07" and len(fields) == 1:
        return fields[0]
    return " ".join(f"{name} {i + 1} {field}" for i, field in enumerate(fields))


def fix_html(text: str, generation: str) -> str:
    """Undoes what HTML and WikiText's own tokenizer left behind."""
    for old, new in REPLACED[generation]:
        text = text.replace(old, new)
    text = html.unescape(text)
    return text if generation == "fastai2" else re.sub("  +", " ", text)


def replace_repeated(text: str, generation: str) -> str:
    """Writes "soooo" as "s xxrep 4 o"."""
    mark, _ = marks(generation)
    return _REPEATED[generation].sub(lambda m: f" {mark} {len(m[2]) + 1} {m[1]} ", text)


def replace_repeated_words(text: str, generation: str) -> str:
    """Writes "no no no no" as "xxwrep 4 no"."""
    _, mark = marks(generation)
    if generation == "fastai2":
        return _WORDS_2.sub(
            lambda m: f" {mark} {len(m[2].split()) + 2} {m[1]} {m[3]}", text
        )
    return _WORDS.sub(lambda m: f" {mark} {len(m[2].split()) + 1} {m[1]} ", text)


def add_spaces(text: str, generation: str) -> str:
    """Puts spaces around slashes and the like."""
    return re.sub(f"({SPACED[generation]})", r" \1 ", text)


def remove_spaces(text: str, generation: str) -> str:
    """Leaves one space of several."""
    del generation
    return re.sub(" {2,}", " ", text)


def mark_capitals(text: str, generation: str) -> str:
    """Lower-cases words in capitals, behind a token that says so (fastai 2)."""
    del generation
    return _CAPITALS.sub(lambda m: _lowered(m, "xxup"), text)


def mark_capitalised(text: str, generation: str) -> str:
    """Lower-cases words with a first capital, behind a token (fastai 2)."""
    del generation
    return _CAPITALISED.sub(lambda m: _lowered(m, "xxmaj"), text)


def begin(text: str, generation: str) -> str:
    """Lower-cases and puts the first token in front (fastai 2)."""
    del generation
    return "xxbos " + text.lower().strip()


def mark_caps_07(text: str, generation: str) -> str:
    """Lower-cases all, with a token before capitals of three and more (0.7)."""
    del generation
    pieces = re.findall(r"\w+|\W+", text)
    return "".join(
        " t_up " + piece.lower()
        if piece.isupper() and len(piece) > 2
        else piece.lower()
        for piece in pieces
    )


Rule = Callable[[str, str], str]
RULES: dict[str, tuple[Rule, ...]] = {
    # 0.7's own order; its `fixup` sees the whole text, first tokens included.
    "fastai07": (
        fix_html,
        replace_repeated,
        replace_repeated_words,
        mark_caps_07,
        add_spaces,
        remove_spaces,
    ),
    "fastai1": (
        fix_html,
        replace_repeated,
        replace_repeated_words,
        add_spaces,
        remove_spaces,
    ),
    "fastai2": (
        fix_html,
        replace_repeated,
        replace_repeated_words,
        add_spaces,
        remove_spaces,
        mark_capitals,
        mark_capitalised,
        begin,
    ),
}
# What 0.7 and 1.0 put in front of a text before their rules; fastai 2 does it last.
PREFIX = {"fastai07": "\nxbos ", "fastai1": "xxbos ", "fastai2": ""}


def prepared(text: str, generation: str) -> str:
    """Returns a document as the base tokenizer gets it."""
    text = PREFIX[check(generation)] + text
    for rule in RULES[generation]:
        text = rule(text, generation)
    return text


def finished(tokens: Sequence[str], generation: str) -> list[str]:
    """Applies what a generation does to tokens after the base tokenizer."""
    if generation == "fastai07":
        return list(tokens)
    if generation == "fastai2":
        return [token.replace(" ", "\u2581") for token in tokens]
    result = []
    for token in tokens:
        if not token:
            continue
        if token.isupper() and len(token) > 1:
            result.append("xxup")
        elif token[0].isupper() and token[1:].islower():
            result.append("xxmaj")
        result.append(token.lower())
    return result


def decode_spec_tokens(tokens: Sequence[str]) -> list[str]:
    """Undoes the special tokens exactly as fastai 1 and 2 do.

    They go on repeating after a repetition; `readable` does not.
    """
    result: list[str] = []
    rule, count = None, None
    for token in tokens:
        if token in ("xxmaj", "xxup", "xxrep", "xxwrep"):
            rule = token
        elif rule is None:
            result.append(token)
        elif rule == "xxmaj":
            result.append(token[:1].upper() + token[1:].lower())
            rule = None
        elif rule == "xxup":
            result.append(token.upper())
            rule = None
        elif count is None:
            try:
                count = int(token)
            except ValueError:
                rule = None
        elif rule == "xxrep":
            result.append(token * count)
        else:
            result += [token] * count
    return result


_RULE_OF = {"tk_rep": "xxrep", "tk_wrep": "xxwrep", "t_up": "xxup"}
_HIDDEN = ("xbos", "xxbos", "xxeos", "xxpad", "_pad_")
MOST_REPEATED = 100


def readable(tokens: Sequence[str]) -> str:
    """Returns tokens of any generation as a text for people."""
    words: list[str] = []
    rest = list(reversed([_RULE_OF.get(t, t) for t in tokens if t not in _HIDDEN]))
    while rest:
        token = rest.pop()
        if token == "xxfld":
            rest = rest[:-1] if rest and rest[-1].isdigit() else rest
        elif token in ("xxmaj", "xxup"):
            change = str.capitalize if token == "xxmaj" else str.upper
            # A model may write one mark behind another: the last one counts.
            if rest and rest[-1] not in ("xxmaj", "xxup", "xxrep", "xxwrep"):
                words.append(change(rest.pop()))
        elif token in ("xxrep", "xxwrep") and len(rest) > 1 and rest[-1].isdigit():
            count, what = min(int(rest.pop()), MOST_REPEATED), rest.pop()
            words += [what * count] if token == "xxrep" else [what] * count
        elif token not in ("xxrep", "xxwrep"):
            words.append(token)
    text = " ".join(words)
    if "\u2581" in text:
        return text.replace(" ", "").replace("\u2581", " ").strip()
    text = re.sub(r" ([.,;:!?%)\]}]|n't|'(?:s|re|ve|ll|d|m)\b)", r"\1", text)
    return re.sub(r"([(\[{$]) ", r"\1", text)


def _lowered(match: re.Match, mark: str) -> str:
    before = f"{mark} " if len(match[2]) > 1 else ""
    return f"{match[1]}{before}{match[2].lower()}"

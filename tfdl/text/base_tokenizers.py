"""Tokenizers that split prepared text into words or pieces.

| name | splits |
| --- | --- |
| whitespace | at every space, as fastai's base tokenizer |
| regex | words, numbers, contractions ("do n't", "it 's"), punctuation, line ends |
| sentencepiece | by a model that was learned; its own vocabulary |
| spacy | by spaCy's English rules, where it is installed; not within a graph |
"""

import importlib.util
import io
import re
from collections.abc import Callable, Iterable, Sequence

from tfdl.engine import errors

BASES = ("whitespace", "regex", "sentencepiece", "spacy")

# These and what uses them are written for Python's re and RE2 alike: no look-around.
# W is a class of word characters, S of white space. A contraction gets MARK in front,
# by which the quotation mark of 'so' is told from it; the token loses it again.
MARK = "\ue000"
_APOSTROPHE = "['\u2019]"
_END = "($|[^{W}])"
CONTRACTIONS = (
    (f"([nN]{_APOSTROPHE}[tT]){_END}", rf"{MARK}\1\2"),
    (
        f"({_APOSTROPHE}(?:[sS]|[rR][eE]|[vV][eE]|[lL][lL]|[dD]|[mM])){_END}",
        rf"{MARK}\1\2",
    ),
)
TOKEN = (
    rf"\n+|{MARK}[nN]?{_APOSTROPHE}[a-zA-Z]+|[0-9]+(?:[.,:][0-9]+)*|[{{W}}]+|\.\.+|--+"
    "|[^{S}]"
)
_PYTHON = {"W": r"\w", "S": r"\s"}


def check(base: str) -> str:
    """Returns the name of a base tokenizer, or raises `UserError`."""
    if base not in BASES:
        raise errors.unknown("tokenizer", base, BASES)
    return base


def filled(pattern: str, classes: dict[str, str]) -> str:
    """Puts character classes in a pattern's {W} and {S}."""
    for name, members in classes.items():
        pattern = pattern.replace(f"{{{name}}}", members)
    return pattern


def create(
    base: str, generation: str, model: bytes | None = None
) -> Callable[[str], list[str]]:
    """Returns the function text -> tokens.

    Args:
        base: one of `BASES`.
        generation: whose special tokens spaCy must leave whole.
        model: of SentencePiece.
    """
    check(base)
    if base == "regex":
        token = re.compile(filled(TOKEN, _PYTHON))
        splits = [(re.compile(filled(p, _PYTHON)), to) for p, to in CONTRACTIONS]

        def by_regex(text: str) -> list[str]:
            for pattern, replacement in splits:
                text = pattern.sub(replacement, text)
            return [found.removeprefix(MARK) for found in token.findall(text)]

        return by_regex
    if base == "whitespace":
        # 0.7's texts begin with a line end, which spaCy takes for a token.
        if generation == "fastai07":
            return re.compile("\n+|[^ \n]+").findall
        return lambda text: text.split(" ")
    if base == "sentencepiece":
        return _sentencepiece(model)
    return _spacy(generation)


def learn_sentencepiece(
    texts: Iterable[str], vocab_size: int, special: Sequence[str]
) -> bytes:
    """Learns a unigram model of prepared texts (fastai 2's settings).

    Returns:
        The model; its pieces begin with the special tokens.

    Raises:
        UserError: the texts are too small for it.
    """
    import sentencepiece

    marked = [f"\u2581{token}" for token in special]
    result = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=iter(texts),
            model_writer=result,
            vocab_size=vocab_size,
            character_coverage=0.99999,
            model_type="unigram",
            unk_id=len(marked),
            pad_id=-1,
            bos_id=-1,
            eos_id=-1,
            minloglevel=2,
            user_defined_symbols=marked,
            hard_vocab_limit=False,
        )
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[-200:]
        raise errors.UserError(f"SentencePiece cannot learn: {reason}") from None
    return result.getvalue()


def _sentencepiece(model: bytes | None) -> Callable[[str], list[str]]:
    import sentencepiece

    if not model:
        raise errors.UserError("the tokenizer 'sentencepiece' needs its model")
    try:
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    except (RuntimeError, OSError) as error:
        raise errors.UserError(f"not a SentencePiece model: {error}") from None
    return processor.encode_as_pieces


def _spacy(generation: str) -> Callable[[str], list[str]]:
    if importlib.util.find_spec("spacy") is None:
        raise errors.UserError(
            "the tokenizer 'spacy' needs spaCy: pip install 'tfdl[spacy]'; or use "
            "'regex'"
        )
    import spacy

    from tfdl.text import fastai_rules

    tokenizer = spacy.blank("en").tokenizer
    whole = fastai_rules.special_tokens(generation)
    if generation == "fastai07":
        whole = ("<eos>", "<bos>", "<unk>")
    for token in whole:
        tokenizer.add_special_case(token, [{spacy.symbols.ORTH: token}])
    breaks = re.compile(r"<\s*br\s*/?>", re.IGNORECASE)

    def by_spacy(text: str) -> list[str]:
        if generation == "fastai07":
            text = breaks.sub("\n", text)
        return [token.text for token in tokenizer(text)]

    return by_spacy

"""Text for language models: what searches train on, choose by, and never see."""

import collections
import dataclasses
from collections.abc import Sequence

from tfdl.data import text_corpora
from tfdl.data.bptt import Documents
from tfdl.data.text_corpora import Corpus, Document
from tfdl.engine import errors
from tfdl.text import fastai_vocab

# Python's own word splitter: it runs within a graph as well.
BASE = "regex"


@dataclasses.dataclass
class Text:
    """A corpus as ids.

    Attributes:
        rules: of the tokenizer.
        itos: the vocabulary, of the training text alone.
        train: what networks learn from.
        valid: what architectures are chosen by.
        test: what nothing is chosen by.
    """

    rules: str
    itos: list[str]
    train: Documents
    valid: Documents
    test: Documents


def tokenizer(rules: str, itos: Sequence[str] | None = None):
    """Returns the tokenizer of a set of rules."""
    return fastai_vocab.TextTokenizer(rules, BASE, itos)


def splits(
    corpus: Corpus, held_out: float, source: str
) -> tuple[list[Document], list[Document], list[Document]]:
    """Returns the documents to learn from, to choose by and to measure on.

    What the corpus does not split itself is held out of its training documents, the
    same ones in every run: the stages of a run must not see each other's test text.

    Raises:
        UserError: too few documents.
    """
    train, valid, test = corpus.train, corpus.validation, corpus.test
    train = [*train, *corpus.unlabelled]
    if not test:
        train, test = text_corpora.held_out(train, held_out, seed=0)
    if not valid:
        train, valid = text_corpora.held_out(train, held_out, seed=1)
    for name, documents in (("learn", train), ("choose", valid), ("measure", test)):
        if not documents:
            raise errors.UserError(
                f"{source}: no document is left to {name} on; give more documents, or "
                f"a larger held_out than {held_out:g}"
            )
    return train, valid, test


def load(
    source: str,
    rules: str,
    max_vocab: int = 0,
    min_count: int = 0,
    held_out: float = 0.1,
    most: tuple[int, int, int] = (0, 0, 0),
) -> Text:
    """Reads a corpus.

    Args:
        source: see `data/text_corpora.py`.
        rules: "words" for text that is tokenized already, as the Penn Treebank's files
            are, or one of `fastai_rules.GENERATIONS`.
        max_vocab: the most words, 0 for the rules' own.
        min_count: words seen less often are unknown, 0 for the rules' own.
        held_out: share of the documents for each split that the corpus lacks.
        most: tokens that are kept of each split; 0 keeps all.

    Raises:
        UserError: no such source, or too little text.
    """
    parts = splits(text_corpora.read(source), held_out, source)
    split = tokenizer(rules).tokens
    tokens = [
        list(_first(map(split, (x.fields for x in part)), limit))
        for part, limit in zip(parts, most, strict=True)
    ]
    counts = collections.Counter(token for row in tokens[0] for token in row)
    itos = fastai_vocab.build(counts, rules, max_vocab, min_count)
    encode = fastai_vocab.Vocabulary(itos).encode
    found = [Documents([encode(row) for row in part]) for part in tokens]
    for name, part in zip(("learn", "choose", "measure"), found, strict=True):
        if part.tokens < 2:
            raise errors.UserError(f"{source}: there is no text to {name} on")
    return Text(rules, itos, *found)


def encode(documents: Sequence[Document], rules: str, itos: Sequence[str]) -> Documents:
    """Returns documents as ids of a vocabulary there is."""
    tokens = tokenizer(rules, itos)
    return Documents([tokens.encode(x.fields) for x in documents])


def _first(rows, most: int):
    """Yields rows until they have `most` tokens together."""
    left = most
    for row in rows:
        yield row[:left] if most else row
        left -= len(row)
        if most and left <= 0:
            return

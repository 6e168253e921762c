"""The vocabulary of a language model's directory, and its tokenizers."""

import pathlib
from collections.abc import Mapping
from typing import Any

from tfdl.engine import files, model_dir
from tfdl.text import fastai_vocab
from tfdl.text.fastai_graph import GraphTokenizer
from tfdl.text.fastai_vocab import TextTokenizer

VOCAB = "vocab.json"


def has(directory: files.PathLike) -> bool:
    """Tells whether a model directory has a vocabulary."""
    return (pathlib.Path(directory) / model_dir.ASSETS / VOCAB).is_file()


def read(directory: files.PathLike) -> list[str]:
    """Returns the vocabulary.

    Raises:
        UserError: it is missing or damaged.
    """
    return fastai_vocab.load(model_dir.asset(directory, VOCAB))


def python(config: Mapping[str, Any], directory: files.PathLike) -> TextTokenizer:
    """Returns the tokenizer of a model directory in Python."""
    return TextTokenizer(*_fields(config), read(directory))


def graph(config: Mapping[str, Any], directory: files.PathLike) -> GraphTokenizer:
    """Returns it within a graph."""
    rules, base = _fields(config)
    return GraphTokenizer(read(directory), rules=rules, base=base)


def _fields(config: Mapping[str, Any]) -> tuple[str, str]:
    fields = config.get("tokenizer") or {}
    return fields.get("rules", "words"), fields.get("base", "regex")

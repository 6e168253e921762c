"""The tokenizer of a model directory, in Python and within a graph."""

from collections.abc import Mapping, Sequence
from typing import Any

from tfdl.engine import errors, files, model_dir
from tfdl.text.fastai_graph import GraphTokenizer
from tfdl.text.fastai_vocab import TextTokenizer

SENTENCEPIECE = "spm.model"
FIELDS = ("rules", "base")
# What converted checkpoints get: spaCy itself does not run in a graph.
DEFAULT_BASE = "regex"


def python(
    config: Mapping[str, Any],
    itos: Sequence[str] | None = None,
    directory: files.PathLike | None = None,
) -> TextTokenizer:
    """Returns the tokenizer in Python.

    Args:
        config: the field `tokenizer` of `config.json`.
        itos: the vocabulary.
        directory: of the model, for SentencePiece's.
    """
    return TextTokenizer(**_fields(config), itos=itos, model=_model(config, directory))


def make(
    config: Mapping[str, Any],
    itos: Sequence[str],
    directory: files.PathLike | None = None,
) -> GraphTokenizer:
    """Returns the tokenizer within a graph: `tokenize(strings [B])` -> ragged ids.

    Args:
        config: the field `tokenizer` of `config.json`.
        itos: the vocabulary.
        directory: of the model, for SentencePiece's.

    Raises:
        UserError: this tokenizer does not run in a graph.
    """
    return GraphTokenizer(itos, **_fields(config), model=_model(config, directory))


def _fields(config: Mapping[str, Any]) -> dict[str, str]:
    for name in config:
        if name not in FIELDS:
            raise errors.unknown("field of the tokenizer", name, FIELDS)
    return {
        "rules": config.get("rules", "fastai2"),
        "base": config.get("base", DEFAULT_BASE),
    }


def _model(config, directory) -> bytes | None:
    if config.get("base") != "sentencepiece" or directory is None:
        return None
    return model_dir.asset(directory, SENTENCEPIECE).read_bytes()

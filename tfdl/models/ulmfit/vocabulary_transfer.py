"""Starting a model from one with another vocabulary (fastai's `match_embeds`)."""

import json
from collections.abc import Sequence

import numpy as np

from tfdl.engine import files, model_dir
from tfdl.engine.errors import UserError
from tfdl.models.ulmfit.classifier import Classifier
from tfdl.models.ulmfit.language_model import LanguageModel
from tfdl.models.ulmfit.model import VOCAB


def remap_encoder(
    embedding: np.ndarray,
    bias: np.ndarray | None,
    old_itos: Sequence[str],
    new_itos: Sequence[str],
) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the embedding and decoder bias for a new vocabulary.

    A word that the old vocabulary has keeps its row, any other gets the mean row.

    Args:
        embedding: [V, E].
        bias: [V] or None.
        old_itos: the tokens of the rows.
        new_itos: the tokens of the new rows.

    Raises:
        UserError: the old vocabulary has another size than the embedding.
    """
    if len(old_itos) != len(embedding):
        raise UserError(
            f"the vocabulary has {len(old_itos):,} tokens, the embedding "
            f"{len(embedding):,} rows"
        )
    # Of a token that is there twice (fastai's xxfake), the last counts, as in a dict.
    old = {token: i for i, token in enumerate(old_itos)}
    source = np.array([old.get(token, -1) for token in new_itos])
    known = source >= 0

    def remapped(rows):
        result = np.empty((len(new_itos), *rows.shape[1:]), rows.dtype)
        result[known] = rows[source[known]]
        result[~known] = rows.mean(0)
        return result

    return remapped(embedding), None if bias is None else remapped(bias)


def read_vocab(directory: files.PathLike) -> list[str]:
    """Returns the tokens of a model directory in the order of ids.

    Raises:
        UserError: it was converted without a vocabulary, or the file is damaged.
    """
    path = model_dir.asset(directory, VOCAB)
    try:
        itos = json.loads(files.read_text(path))
    except ValueError:
        itos = None
    if not isinstance(itos, list) or not all(isinstance(t, str) for t in itos):
        raise UserError(f"{path} is no list of tokens")
    return itos


def load_encoder(
    directory: files.PathLike,
    model: LanguageModel | Classifier,
    itos: Sequence[str] | None = None,
) -> int:
    """Copies the encoder of a model directory into a built model.

    A language model's decoder bias goes along when both have one.

    Args:
        directory: a language model or classifier.
        model: what it is copied into, of the same sizes but for the vocabulary.
        itos: the model's vocabulary; None says that it is that of the directory.

    Returns:
        How many of the model's tokens the old vocabulary lacked.

    Raises:
        UserError: the sizes differ.
    """
    import tfdl

    source = tfdl.load(str(directory))
    config = model_dir.read_config(directory)
    if config["model"] != "ulmfit":
        raise UserError(f"{directory} is a {config['model']!r} model, not ulmfit")
    own, other = source.encoder.config, model.encoder.config
    if own.widths() != other.widths():
        raise UserError(
            f"{directory} has LSTMs of {own.widths()}, the model {other.widths()}"
        )
    embedding = source.encoder.embedding.numpy()
    found = getattr(source, "decoder_bias", None)
    bias = None if found is None else found.numpy()
    missing = 0
    if itos is not None:
        old = read_vocab(directory)
        embedding, bias = remap_encoder(embedding, bias, old, itos)
        missing = len(set(itos) - set(old))
    if embedding.shape != tuple(model.encoder.embedding.shape):
        raise UserError(
            f"{directory} has {len(embedding):,} tokens, the model "
            f"{other.vocab_size:,}: the vocabulary has to be given"
        )
    model.encoder.embedding.assign(embedding)
    if bias is not None and getattr(model, "decoder_bias", None) is not None:
        model.decoder_bias.assign(bias)
    for old_rnn, new_rnn in zip(source.encoder.rnns, model.encoder.rnns, strict=True):
        for old, new in zip(old_rnn.weights, new_rnn.weights, strict=True):
            new.assign(old)
    return missing

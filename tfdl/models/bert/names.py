"""The original's variable names (google-research/bert checkpoints)."""

import keras

from tfdl.models.bert.heads import (
    BertFeatureTagger,
    BertPretrainer,
    BertSpanSelector,
)
from tfdl.models.bert.model import BertEncoder

# Variables that BERT's optimizer does not decay, by these names.
NOT_DECAYED = ("LayerNorm", "layer_norm", "bias")


def variable_names(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns a model's weights by the names the original gives them.

    Shapes are the original's too: dense kernels [in, out], output_weights [n, H].
    Heads that the original has no code for are named as its classifier is:
    `output_weights` [1, H] and `output_bias` [1] for multiple choice, [L, H] and [L]
    for tagging. The BiLSTM of the feature-based tagger, of which no checkpoint was
    published, keeps Keras's own names under `tagger/`.
    """
    encoder = model if isinstance(model, BertEncoder) else model.encoder
    named = dict(_encoder(encoder))
    if isinstance(model, BertPretrainer):
        named |= dict(_dense("cls/predictions/transform/dense", model.transform))
        named |= dict(
            _norm("cls/predictions/transform/LayerNorm", model.transform_norm)
        )
        named["cls/predictions/output_bias"] = model.output_bias
        named |= _output("cls/seq_relationship/", model.head)
    elif isinstance(model, BertSpanSelector):
        named |= _output("cls/squad/", model.head)
    elif not isinstance(model, BertEncoder):
        named |= _output("", model.head)
    if isinstance(model, BertFeatureTagger):
        if model.mixture is not None:
            named["tagger/mixture"] = model.mixture
        for i, layer in enumerate(model.recurrent):
            for direction in ("forward", "backward"):
                cell = getattr(layer, f"{direction}_layer").cell
                prefix = f"tagger/bilstm_{i}/{direction}"
                named[f"{prefix}/kernel"] = cell.kernel
                named[f"{prefix}/recurrent_kernel"] = cell.recurrent_kernel
                named[f"{prefix}/bias"] = cell.bias
    return named


def _encoder(encoder: BertEncoder):
    prefix = "bert/embeddings"
    yield f"{prefix}/word_embeddings", encoder.embeddings.word
    yield f"{prefix}/token_type_embeddings", encoder.embeddings.segment
    yield f"{prefix}/position_embeddings", encoder.embeddings.position
    yield from _norm(f"{prefix}/LayerNorm", encoder.embeddings.norm)
    for i, block in enumerate(encoder.blocks):
        prefix = f"bert/encoder/layer_{i}"
        attention = block.attention
        for name in ("query", "key", "value"):
            layer = getattr(attention, name)
            yield from _dense(f"{prefix}/attention/self/{name}", layer)
        yield from _dense(f"{prefix}/attention/output/dense", attention.output_dense)
        yield from _norm(f"{prefix}/attention/output/LayerNorm", attention.norm)
        yield from _dense(f"{prefix}/intermediate/dense", block.intermediate)
        yield from _dense(f"{prefix}/output/dense", block.output_dense)
        yield from _norm(f"{prefix}/output/LayerNorm", block.norm)
    yield from _dense("bert/pooler/dense", encoder.pooler)


def _dense(prefix, layer):
    yield f"{prefix}/kernel", layer.kernel
    yield f"{prefix}/bias", layer.bias


def _norm(prefix, layer):
    yield f"{prefix}/gamma", layer.gamma
    yield f"{prefix}/beta", layer.beta


def _output(prefix, layer):
    return {
        f"{prefix}output_weights": layer.output_weights,
        f"{prefix}output_bias": layer.output_bias,
    }

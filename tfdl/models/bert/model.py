"""The BERT encoder (paper section 3; google-research/bert, modeling.py)."""

import pathlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdl.engine import errors, files
from tfdl.engine import model_dir as directory
from tfdl.layers.dropout import Dropout
from tfdl.layers.recompute import recompute
from tfdl.layers.token_rows import AllTokens, RealTokens
from tfdl.models.bert.config import BertConfig

MASKED_SCORE = -10000.0

# The layers below cast by hand (autocast=False): Keras would also cast what has to
# stay float32, the attention mask and the final vectors, when precision is mixed.


def activation(name: str):
    """Returns the activation function that a configuration names."""
    return {
        "gelu_tanh": lambda x: tf.nn.gelu(x, approximate=True),
        "gelu_erf": lambda x: tf.nn.gelu(x, approximate=False),
        "relu": tf.nn.relu,
        "tanh": tf.tanh,
        "swish": tf.nn.swish,
        "linear": tf.identity,
    }[name]


class Dense(keras.layers.Layer):
    """`x @ kernel + bias` on [N, in] rows: one plain matrix product.

    Args:
        units: columns of the kernel.
        stddev: deviation of the kernel's truncated normal initialiser.
    """

    def __init__(self, units: int, stddev: float, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.units, self.stddev = units, stddev

    def build(self, input_shape):
        """Makes kernel [in, units] and bias [units]."""
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], self.units),
            initializer=keras.initializers.TruncatedNormal(stddev=self.stddev),
        )
        self.bias = self.add_weight(
            name="bias", shape=(self.units,), initializer="zeros"
        )

    def call(self, rows):
        """Maps [N, in] to [N, units]."""
        return tf.nn.bias_add(
            tf.matmul(rows, tf.cast(self.kernel, rows.dtype)),
            tf.cast(self.bias, rows.dtype),
        )


class LayerNorm(keras.layers.Layer):
    """Layer normalisation over the last axis, in float32 (Ba et al. 2016)."""

    def __init__(self, epsilon: float, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.epsilon = epsilon

    def build(self, input_shape):
        """Makes gamma and beta."""
        shape = (input_shape[-1],)
        self.gamma = self.add_weight(name="gamma", shape=shape, initializer="ones")
        self.beta = self.add_weight(name="beta", shape=shape, initializer="zeros")

    def call(self, x):
        """Returns the normalised `x`, in its dtype."""
        wide = tf.cast(x, tf.float32)
        centred = wide - tf.reduce_mean(wide, axis=-1, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
        scale = tf.math.rsqrt(variance + self.epsilon) * tf.cast(self.gamma, tf.float32)
        return tf.cast(centred * scale + tf.cast(self.beta, tf.float32), x.dtype)


class Embeddings(keras.layers.Layer):
    """Word + segment + position embeddings, LayerNorm, dropout (paper figure 2)."""

    def __init__(self, config: BertConfig, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.config = config
        self.norm = LayerNorm(config.layer_norm_eps, name="LayerNorm")
        self.dropout = Dropout(config.hidden_dropout_prob)

    def build(self, input_shape=None):
        """Makes the three tables."""
        config = self.config
        initializer = keras.initializers.TruncatedNormal(
            stddev=config.initializer_range
        )

        def table(name, rows):
            shape = (rows, config.hidden_size)
            return self.add_weight(name=name, shape=shape, initializer=initializer)

        self.word = table("word_embeddings", config.vocab_size)
        self.segment = table("token_type_embeddings", config.type_vocab_size)
        self.position = table("position_embeddings", config.max_position_embeddings)

    def call(self, token_ids, segment_ids, training=False):
        """Maps ids [B, S] to vectors [B, S, H]."""
        wide = tf.float32
        # A product with the one-hot segments gives a dense gradient: the table has
        # two rows and a gather's gradient would be a scatter over all tokens.
        segments = tf.one_hot(segment_ids, self.config.type_vocab_size, dtype=wide)
        # Rows are cast, not tables: of a large vocabulary a batch uses little.
        x = tf.gather(tf.cast(self.word, wide), token_ids)
        x += tf.einsum("bst,th->bsh", segments, tf.cast(self.segment, wide))
        x += tf.cast(self.position, wide)[: tf.shape(token_ids)[1]]
        x = tf.cast(self.norm(x), self.compute_dtype)
        return self.dropout(x, training=training)


class SelfAttention(keras.layers.Layer):
    """Multi-head self-attention with its output projection and residual.

    Query, key and value have kernels of their own (as the checkpoints do), joined
    for one matrix product in training. Joining copies them, which is dear for the few
    rows of a request.
    """

    def __init__(self, config: BertConfig, **kwargs):
        super().__init__(autocast=False, **kwargs)
        h, std = config.hidden_size, config.initializer_range
        self.heads = config.num_attention_heads
        self.size = h // self.heads
        self.query = Dense(h, std, name="query")
        self.key = Dense(h, std, name="key")
        self.value = Dense(h, std, name="value")
        self.output_dense = Dense(h, std, name="dense")
        self.norm = LayerNorm(config.layer_norm_eps, name="LayerNorm")
        self.probs_dropout = Dropout(config.attention_probs_dropout_prob)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def build(self, input_shape):
        """Builds the projections for [N, H] rows."""
        rows = (None, input_shape[-1])
        for layer in (self.query, self.key, self.value, self.output_dense, self.norm):
            layer.build(rows)

    def call(self, x, tokens, scores_mask, training=False, first_only=False):
        """Attends and adds.

        Args:
            x: rows [N, H].
            tokens: which rows they are, an `AllTokens`.
            scores_mask: [B, 1, 1, S] float32, added to the scaled scores, or None.
            training: whether dropout is on.
            first_only: only the first token of each sequence asks; all answer.

        Returns:
            Rows [N, H], or [B, H] with `first_only`.
        """
        if first_only:
            source, asking = tokens.grid(x)[:, 0], AllTokens(tokens.batch, 1)
            q = asking.grid(self.query(source))
            k, v = self._project(x, tokens, training, self.key, self.value)
        else:
            source, asking = x, tokens
            layers = self.query, self.key, self.value
            q, k, v = self._project(x, tokens, training, *layers)
        q, k, v = self._by_head(q), self._by_head(k), self._by_head(v)
        scores = tf.matmul(q * self.size**-0.5, k, transpose_b=True)
        # The mask would lose itself in half precision: softmax is float32 always.
        scores = tf.cast(scores, tf.float32)
        probs = tf.nn.softmax(scores if scores_mask is None else scores + scores_mask)
        probs = self.probs_dropout(tf.cast(probs, x.dtype), training=training)
        context = tf.transpose(tf.matmul(probs, v), [0, 2, 1, 3])
        context = tf.reshape(context, [asking.batch, asking.length, x.shape[-1]])
        out = self.output_dense(asking.rows(context))
        return self.norm(source + self.dropout(out, training=training))

    def _project(self, rows, tokens, training, *layers):
        if not training:
            return [tokens.grid(layer(rows)) for layer in layers]
        kernel = tf.concat([tf.cast(layer.kernel, rows.dtype) for layer in layers], 1)
        bias = tf.concat([tf.cast(layer.bias, rows.dtype) for layer in layers], 0)
        joined = tf.nn.bias_add(tf.matmul(rows, kernel), bias)
        return tf.split(tokens.grid(joined), len(layers), -1)

    def _by_head(self, grid):
        shape = tf.shape(grid)
        parts = tf.reshape(grid, [shape[0], shape[1], self.heads, self.size])
        return tf.transpose(parts, [0, 2, 1, 3])


class TransformerLayer(keras.layers.Layer):
    """Self-attention and feed-forward, each with residual and LayerNorm after."""

    def __init__(self, config: BertConfig, **kwargs):
        super().__init__(autocast=False, **kwargs)
        std = config.initializer_range
        self.attention = SelfAttention(config, name="attention")
        self.intermediate = Dense(config.intermediate_size, std, name="intermediate")
        self.activation = activation(config.hidden_act)
        self.output_dense = Dense(config.hidden_size, std, name="output")
        self.norm = LayerNorm(config.layer_norm_eps, name="LayerNorm")
        self.dropout = Dropout(config.hidden_dropout_prob)

    def build(self, input_shape):
        """Builds the sublayers."""
        hidden = input_shape[-1]
        self.attention.build(input_shape)
        self.intermediate.build((None, hidden))
        self.output_dense.build((None, self.intermediate.units))
        self.norm.build((None, hidden))

    def call(self, x, tokens, scores_mask, training=False, first_only=False):
        """Maps rows [N, H] to [N, H], or to [B, H] with `first_only`."""
        x = self.attention(
            x,
            tokens=tokens,
            scores_mask=scores_mask,
            training=training,
            first_only=first_only,
        )
        out = self.output_dense(self.activation(self.intermediate(x)))
        return self.norm(x + self.dropout(out, training=training))


class BertEncoder(keras.Model):
    """Embeddings, L Transformer layers and the pooler.

    Args:
        config: the architecture.
        gradient_checkpointing: keep only each layer's input in training and
            compute the rest again in the backward pass: less memory, same result.
        unpad: leave padding out of everything but the attention itself. Vectors of
            real tokens are the same, those of padding are 0. Pays for long texts of
            uneven lengths in plain graphs; XLA takes it, but sizes it for no padding.
    """

    def __init__(
        self,
        config: BertConfig,
        gradient_checkpointing: bool = False,
        unpad: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.config = config
        self.gradient_checkpointing = gradient_checkpointing
        self.unpad = unpad
        self.embeddings = Embeddings(config, name="embeddings")
        self.blocks = [
            TransformerLayer(config, name=f"layer_{i}")
            for i in range(config.num_hidden_layers)
        ]
        self.pooler = Dense(config.hidden_size, config.initializer_range, name="pooler")

    def build(self, input_shape=None):
        """Makes every variable."""
        hidden = self.config.hidden_size
        self.embeddings.build(None)
        self.embeddings.norm.build((None, None, hidden))
        for block in self.blocks:
            block.build((None, hidden))
        self.pooler.build((None, hidden))
        self.built = True

    def call(
        self,
        inputs,
        training=False,
        first_token_only=False,
        all_layers=False,
        unpad=False,
    ):
        """Encodes a batch.

        Args:
            inputs: `token_ids` int32 [B, S]; optional `segment_ids` (zeros) and
                `padding_mask` (ones; 1 = real), int32 [B, S].
            training: whether dropout is on.
            first_token_only: compute the last layer for the first token alone and
                leave `sequence_output` out: all that classification needs.
            all_layers: add `encoder_outputs`, the embedding output and every
                layer's, L + 1 tensors [B, S, H]; the last is [B, 1, H] with
                `first_token_only`.
            unpad: as the encoder's own, for this call.

        Returns:
            `sequence_output` [B, S, H] and `pooled_output` [B, H], float32.

        Raises:
            UserError: S is known and over `max_position_embeddings`.
        """
        token_ids = tf.convert_to_tensor(inputs["token_ids"])
        self._check_length(token_ids.shape[1])
        segment_ids = inputs.get("segment_ids")
        if segment_ids is None:
            segment_ids = tf.zeros_like(token_ids)
        padding_mask = inputs.get("padding_mask")
        shape = tf.shape(token_ids)
        tokens = AllTokens(shape[0], shape[1])
        if (unpad or self.unpad) and padding_mask is not None:
            tokens = RealTokens(padding_mask)
        mask = scores_mask(padding_mask)
        x = tokens.rows(self.embeddings(token_ids, segment_ids, training=training))
        outputs = [x]
        for i, block in enumerate(self.blocks):
            first_only = first_token_only and i == len(self.blocks) - 1
            x = self._run(block, x, tokens, mask, training, first_only)
            outputs.append(x)
        final = (AllTokens(tokens.batch, 1) if first_token_only else tokens).grid(x)
        pooled = tf.tanh(self.pooler(final[:, 0]))
        result = {"pooled_output": tf.cast(pooled, tf.float32)}
        if not first_token_only:
            result["sequence_output"] = tf.cast(final, tf.float32)
        if all_layers:
            grids = [tokens.grid(x) for x in outputs[:-1]] + [final]
            result["encoder_outputs"] = [tf.cast(x, tf.float32) for x in grids]
        return result

    def _run(self, block, x, tokens, mask, training, first_only):
        options = {
            "tokens": tokens,
            "scores_mask": mask,
            "training": training,
            "first_only": first_only,
        }
        if training and self.gradient_checkpointing:
            return recompute(block, x, **options)
        return block(x, **options)

    def _check_length(self, length: int | None) -> None:
        most = self.config.max_position_embeddings
        if length is not None and length > most:
            raise errors.UserError(
                f"sequences of {length} tokens are over the encoder's {most} positions"
            )


def scores_mask(padding_mask) -> tf.Tensor | None:
    """Returns [B, 1, 1, S]: 0 at real keys, -10000 at padding; None without padding.

    Padded queries attend as well, so that outputs at padding are defined.
    """
    if padding_mask is None:
        return None
    mask = tf.cast(padding_mask, tf.float32)
    return (1.0 - mask)[:, None, None, :] * MASKED_SCORE


def build_model(config: Mapping[str, Any], **options: Any) -> keras.Model:
    """Returns the built model that a model directory's configuration describes.

    Args:
        config: `config.json` of a model directory.
        **options: passed to the encoder, e.g. `gradient_checkpointing`.
    """
    from tfdl.models.bert import heads

    encoder = BertEncoder(
        BertConfig.from_dict(config["encoder"]), name="bert", **options
    )
    model = heads.create(config["head"], encoder, config.get("head_config") or {})
    length = min(8, encoder.config.max_position_embeddings)
    shape = [1, 2, length] if config["head"] == "swag" else [1, length]
    model({"token_ids": np.zeros(shape, "int32")})
    return model


def from_config(
    config: Mapping[str, Any], model_dir: str | pathlib.Path
) -> keras.Model:
    """Returns the built model of a model directory; its weights are still random.

    Raises:
        UserError: the configuration asks for far more than the weights file holds:
            found before memory is asked for.
    """
    weights = files.require_file(pathlib.Path(model_dir) / directory.WEIGHTS)
    wanted, held = BertConfig.from_dict(config["encoder"]), weights.stat().st_size
    if 4 * wanted.num_parameters() > held:
        raise errors.UserError(
            f"{weights} has {held:,} bytes, too few for the "
            f"{wanted.num_parameters():,} weights that {directory.CONFIG} asks for"
        )
    return build_model(config)

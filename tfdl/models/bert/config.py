"""The architecture of a BERT encoder."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfdl.engine import errors

ACTIVATIONS = ("gelu_tanh", "gelu_erf", "relu", "tanh", "swish", "linear")

# Layers, hidden size and heads of the published models (google-research/bert).
PRESETS = {
    "tiny": (2, 128, 2),
    "mini": (4, 256, 4),
    "small": (4, 512, 8),
    "medium": (8, 512, 8),
    "base": (12, 768, 12),
    "large": (24, 1024, 16),
}


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """Sizes and rates, named as in `bert_config.json`.

    Attributes:
        vocab_size: V, rows of the word embedding.
        hidden_size: H.
        num_hidden_layers: L.
        num_attention_heads: A; divides H.
        intermediate_size: width of the feed-forward layer, 4H in all published.
        hidden_act: one of `ACTIVATIONS`; the original's "gelu" is the tanh form,
            transformers' is the erf form, so that neither is called just "gelu".
        hidden_dropout_prob: dropout on embeddings and sublayer outputs.
        attention_probs_dropout_prob: dropout on attention probabilities.
        max_position_embeddings: the longest sequence.
        type_vocab_size: segments; 2 in all published, 16 where a file says nothing.
        initializer_range: deviation of the truncated normal initialiser.
        layer_norm_eps: 1e-12 in the original.
    """

    vocab_size: int
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu_tanh"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 16
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            # bool is an int to Python, not to a configuration.
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if field.type is int and not (type(value) is int and value > 0):
                raise errors.UserError(
                    f"BERT's {field.name} has to be a positive integer, got {value!r}"
                )
            limit = 1 if field.name.endswith("_prob") else 10
            if field.type is float and not (is_number and 0 <= value < limit):
                raise errors.UserError(
                    f"BERT's {field.name} has to be a number in [0, {limit}), "
                    f"got {value!r}"
                )
        if self.hidden_size % self.num_attention_heads:
            raise errors.UserError(
                f"hidden_size {self.hidden_size} is not a multiple of "
                f"num_attention_heads {self.num_attention_heads}"
            )
        if self.hidden_act not in ACTIVATIONS:
            raise errors.unknown("hidden_act", self.hidden_act, ACTIVATIONS)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "BertConfig":
        """Returns the configuration in a dict; other keys of it are ignored.

        The multilingual and Chinese files hold directionality and pooler_* keys
        that the original does not read either.

        Raises:
            UserError: `vocab_size` is missing, or a value makes no sense.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if "vocab_size" not in values:
            raise errors.UserError("the BERT configuration lacks vocab_size")
        return cls(**{key: values[key] for key in values if key in known})

    @classmethod
    def preset(cls, name: str, vocab_size: int = 30522, **changes: Any) -> "BertConfig":
        """Returns a published size: tiny, mini, small, medium, base or large."""
        if name not in PRESETS:
            raise errors.unknown("BERT size", name, PRESETS)
        layers, hidden, heads = PRESETS[name]
        values = {
            "num_hidden_layers": layers,
            "hidden_size": hidden,
            "num_attention_heads": heads,
            "intermediate_size": 4 * hidden,
            "type_vocab_size": 2,
            **changes,
        }
        return cls(vocab_size=vocab_size, **values)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as a plain dict."""
        return dataclasses.asdict(self)

    def num_parameters(self) -> int:
        """Returns the weights of embeddings, encoder and pooler together."""
        h, f = self.hidden_size, self.intermediate_size
        embeddings = self.vocab_size + self.max_position_embeddings
        embeddings = (embeddings + self.type_vocab_size) * h + 2 * h
        layer = 4 * (h * h + h) + h * f + f + f * h + h + 4 * h
        return embeddings + self.num_hidden_layers * layer + h * h + h

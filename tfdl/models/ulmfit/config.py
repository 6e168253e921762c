"""Sizes and choices of the encoder and of the classifier on it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfdl.engine import errors

PADDINGS = ("masked", "fastai07", "fastai1", "fastai2")
BATCH_CHANGES = ("reset", "keep")
RATES = ("input_p", "output_p", "weight_p", "embed_p", "hidden_p")
MAX_SIZE = 1 << 24
MAX_LAYERS = 64


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """An AWD-LSTM (Merity et al. 2017), and the decoder that shares its embedding.

    Attributes:
        vocab_size: V, rows of the embedding.
        embedding_size: E, also the width of the last LSTM.
        hidden_size: width of the other LSTMs.
        num_layers: LSTMs.
        pad_id: the token whose row gets no gradient from being looked up.
        input_p: dropout of the embedded input, locked over time.
        output_p: dropout before the decoder, locked over time.
        weight_p: DropConnect of the recurrent weights.
        embed_p: dropout of whole words.
        hidden_p: dropout between LSTMs, locked over time.
        decoder_bias: whether the decoder has one (fastai 0.7's has none).
        batch_change: what becomes of a state when the batch has another size:
            "reset" to zeros, or "keep" the first rows and start others at zero.
    """

    vocab_size: int
    embedding_size: int = 400
    hidden_size: int = 1152
    num_layers: int = 3
    pad_id: int = 1
    input_p: float = 0.0
    output_p: float = 0.0
    weight_p: float = 0.0
    embed_p: float = 0.0
    hidden_p: float = 0.0
    decoder_bias: bool = True
    batch_change: str = "reset"

    def __post_init__(self):
        for name in ("vocab_size", "embedding_size", "hidden_size"):
            _check_integer(name, getattr(self, name), 1, MAX_SIZE)
        _check_integer("num_layers", self.num_layers, 1, MAX_LAYERS)
        _check_integer("pad_id", self.pad_id, 0, MAX_SIZE)
        for name in RATES:
            _check_rate(name, getattr(self, name))
        _check_bool("decoder_bias", self.decoder_bias)
        if self.batch_change not in BATCH_CHANGES:
            raise errors.unknown("batch_change", self.batch_change, BATCH_CHANGES)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "EncoderConfig":
        """Returns the configuration in a dict; refuses unknown fields."""
        return cls(**_known(cls, values))

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as a plain dict that JSON can hold."""
        return dataclasses.asdict(self)

    def widths(self) -> list[tuple[int, int]]:
        """Returns (inputs, units) of every LSTM."""
        sizes = [self.embedding_size]
        sizes += [self.hidden_size] * (self.num_layers - 1) + [self.embedding_size]
        return list(zip(sizes[:-1], sizes[1:], strict=True))

    def with_dropouts(self, dropmult: float = 1.0, **rates: float) -> "EncoderConfig":
        """Returns the same encoder with other rates, each times `dropmult`."""
        for name in rates:
            if name not in RATES:
                raise errors.unknown("dropout", name, RATES)
        return dataclasses.replace(
            self, **{name: rate * dropmult for name, rate in rates.items()}
        )

    def num_parameters(self) -> int:
        """Returns the encoder's weights, the decoder's bias not included."""
        lstms = sum(4 * units * (inputs + units + 2) for inputs, units in self.widths())
        return self.vocab_size * self.embedding_size + lstms


@dataclasses.dataclass(frozen=True)
class ClassifierConfig:
    """The head on pooled outputs, and how documents are read.

    Attributes:
        num_classes: C.
        hidden: widths of the hidden layers.
        dropouts: before every linear layer: one more than there are hidden layers.
        bias: whether linear layers have biases (fastai 2's have none).
        beta: what the shift of batch normalisation starts at (fastai 2: 0.001).
        padding: "masked" reads every document by itself; "fastai07", "fastai1" and
            "fastai2" treat padding as those did, and so depend on the batch.
        bptt: tokens that gradients flow through.
        max_len: tokens at the end of a document that are pooled.
    """

    num_classes: int
    hidden: tuple[int, ...] = (50,)
    dropouts: tuple[float, ...] = (0.4, 0.1)
    bias: bool = True
    beta: float = 0.0
    padding: str = "masked"
    bptt: int = 70
    max_len: int = 1400

    def __post_init__(self):
        for name in ("hidden", "dropouts"):
            value = getattr(self, name)
            if not isinstance(value, list | tuple):
                raise errors.UserError(f"{name} has to be a list, got {value!r}")
            object.__setattr__(self, name, tuple(value))
        _check_integer("num_classes", self.num_classes, 1, MAX_SIZE)
        for width in self.hidden:
            _check_integer("hidden", width, 1, MAX_SIZE)
        if len(self.dropouts) != len(self.hidden) + 1:
            raise errors.UserError(
                f"{len(self.dropouts)} dropouts for {len(self.hidden) + 1} linear "
                "layers of the classifier; one each is needed"
            )
        for rate in self.dropouts:
            _check_rate("dropouts", rate)
        _check_bool("bias", self.bias)
        if self.padding not in PADDINGS:
            raise errors.unknown("padding", self.padding, PADDINGS)
        _check_integer("bptt", self.bptt, 1, MAX_SIZE)
        _check_integer("max_len", self.max_len, self.bptt, MAX_SIZE)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ClassifierConfig":
        """Returns the configuration in a dict; refuses unknown fields."""
        return cls(**_known(cls, values))

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as a plain dict that JSON can hold."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }


def _known(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(cls)]
    for name in values:
        if name not in names:
            raise errors.unknown("field of the network", name, names)
    first = names[0]
    if first not in values:
        raise errors.UserError(f"the network's {first} is missing")
    return dict(values)


def _check_integer(name: str, value: Any, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise errors.UserError(
            f"{name} has to be a whole number in [{least}, {most}], got {value!r}"
        )


def _check_rate(name: str, value: Any) -> None:
    if type(value) not in (int, float) or not 0 <= value < 1:
        raise errors.UserError(f"{name} has to be in [0, 1), got {value!r}")


def _check_bool(name: str, value: Any) -> None:
    if type(value) is not bool:
        raise errors.UserError(f"{name} has to be true or false, got {value!r}")

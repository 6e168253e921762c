"""Sizes and choices of a language model around a recurrent cell."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfdl.engine import errors
from tfdl.engine.options import number
from tfdl.models.automl.recurrent import genotypes
from tfdl.models.automl.recurrent.genotypes import Cell, TreeCell

MAX_SIZE = 1 << 24
MAX_LAYERS = 64
# Shares that are dropped; see `LanguageConfig`.
DROPOUTS = ("word", "embedding", "input", "node", "weight", "output")


@dataclasses.dataclass(frozen=True)
class LanguageConfig:
    """An embedding, layers of a searched cell and a softmax over the vocabulary.

    Attributes:
        genotype: the cell, see `genotypes.from_dict`.
        vocab_size: V.
        embedding_size: E.
        hidden_size: H, of the cells' states.
        num_layers: how many cells lie upon each other.
        projection_size: width that a tree's output is projected to; 0 leaves it H.
        cell_bias: whether trees have biases.
        tied: whether the softmax shares the embedding.
        softmax_bias: whether it has a bias.
        init_range: weights start uniform within it; 0 is Glorot's range for cells
            and 0.1 for the embedding.
        dropouts: shares that training drops, by name: "word" whole rows of the
            embedding, "embedding" its output, "input" every cell's input, "node" the
            states that highway nodes read, "weight" recurrent weights, "output" what
            is decoded. Masks are drawn once for a window, not for every step.
    """

    genotype: Mapping[str, Any]
    vocab_size: int
    embedding_size: int = 200
    hidden_size: int = 200
    num_layers: int = 1
    projection_size: int = 0
    cell_bias: bool = False
    tied: bool = True
    softmax_bias: bool = False
    init_range: float = 0.0
    dropouts: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        cell = self.cell()
        for name in ("vocab_size", "embedding_size", "hidden_size"):
            _check_integer(name, getattr(self, name), 1, MAX_SIZE)
        _check_integer("num_layers", self.num_layers, 1, MAX_LAYERS)
        _check_integer("projection_size", self.projection_size, 0, MAX_SIZE)
        for name in ("cell_bias", "tied", "softmax_bias"):
            if type(getattr(self, name)) is not bool:
                raise errors.UserError(f"{name} has to be true or false")
        number("init_range", self.init_range)
        for name, rate in self.dropouts.items():
            if name not in DROPOUTS:
                raise errors.unknown("dropout", name, DROPOUTS)
            number(f"dropouts.{name}", rate, below=1.0)
        if not isinstance(cell, TreeCell) and (self.projection_size or self.cell_bias):
            raise errors.UserError(
                "projection_size and cell_bias are of trees; this cell has nodes"
            )
        if self.tied and self.output_size != self.embedding_size:
            raise errors.UserError(
                f"a softmax that shares the embedding needs cells as wide as it: "
                f"{self.output_size} is not {self.embedding_size} (or tied = false)"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "LanguageConfig":
        """Returns the configuration in a dict; refuses unknown fields."""
        values = {name: values[name] for name in values if name != "kind"}
        names = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in names:
                raise errors.unknown("field of a language network", name, names)
        for name in names[:2]:
            if name not in values:
                raise errors.UserError(f"a language network's {name} is missing")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as a plain dict that JSON can hold."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {
            **values,
            "genotype": self.cell().to_dict(),
            "dropouts": dict(self.dropouts),
        }

    def cell(self) -> Cell:
        """Returns the cell."""
        if not isinstance(self.genotype, Mapping):
            raise errors.UserError("a language network's genotype is no recurrent cell")
        return genotypes.from_dict(self.genotype)

    @property
    def output_size(self) -> int:
        """The width of a cell's output."""
        return self.projection_size or self.hidden_size

    def widths(self) -> list[int]:
        """Returns the widths of the layers' inputs."""
        return [self.embedding_size] + [self.output_size] * (self.num_layers - 1)

    def fewest_parameters(self) -> int:
        """Returns how many weights there are."""
        cell, hidden, out = self.cell(), self.hidden_size, self.output_size
        total = self.vocab_size * self.embedding_size
        total += 0 if self.tied else self.vocab_size * out
        total += self.vocab_size * self.softmax_bias
        for width in self.widths():
            if isinstance(cell, TreeCell):
                total += (width + out + self.cell_bias) * cell.base * hidden
                total += hidden * self.projection_size
            else:
                total += 2 * hidden * (width + hidden + hidden * len(cell.nodes))
        return total


def _check_integer(name: str, value: Any, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise errors.UserError(
            f"{name} has to be a whole number in [{least}, {most}], got {value!r}"
        )

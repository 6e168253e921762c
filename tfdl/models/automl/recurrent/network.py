"""Layers of a recurrent cell by themselves, without words."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfdl.engine import errors
from tfdl.models.automl.recurrent.config import LanguageConfig
from tfdl.models.automl.recurrent.layer import CellLayer


@dataclasses.dataclass(frozen=True)
class RecurrentConfig:
    """Cells that lie upon each other.

    Attributes:
        genotype: the cell, see `genotypes.from_dict`.
        input_size: width of what comes in.
        hidden_size: of the cells' states.
        num_layers: how many cells.
        projection_size: width that a tree's output is projected to; 0 leaves it.
        cell_bias: whether trees have biases.
    """

    genotype: Mapping[str, Any]
    input_size: int
    hidden_size: int
    num_layers: int = 1
    projection_size: int = 0
    cell_bias: bool = False

    def __post_init__(self):
        self.sizes()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RecurrentConfig":
        """Returns the configuration in a dict; refuses unknown fields."""
        values = {name: values[name] for name in values if name != "kind"}
        names = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in names:
                raise errors.unknown("field of a recurrent network", name, names)
        for name in names[:3]:
            if name not in values:
                raise errors.UserError(f"a recurrent network's {name} is missing")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as a plain dict that JSON can hold."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {**values, "genotype": self.sizes().cell().to_dict()}

    def sizes(self) -> LanguageConfig:
        """Returns the same cells in a language model of one word, checked."""
        return LanguageConfig(
            *(self.genotype, 1, self.input_size, self.hidden_size, self.num_layers),
            *(self.projection_size, self.cell_bias),
            tied=False,
        )

    def fewest_parameters(self) -> int:
        """Returns how many weights there are."""
        words = self.input_size + self.sizes().output_size
        return self.sizes().fewest_parameters() - words


class RecurrentNetwork(keras.Model):
    """Maps sequences to sequences.

    `model({"inputs": [B, T, in], "state": state, "mask": bool [B, T]})` returns
    `"outputs"` [B, T, out] and `"state"`, a tuple of tensors per layer. Without a
    state it starts from zero; where the mask is False, the last output and the state
    are repeated.

    Args:
        config: sizes.
    """

    def __init__(self, config: RecurrentConfig, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.config = config
        sizes = config.sizes()
        self.cells = [
            CellLayer(
                *(sizes.cell(), width, config.hidden_size),
                *(config.projection_size, config.cell_bias),
                name=f"cell{i}",
            )
            for i, width in enumerate(sizes.widths())
        ]

    def build(self, input_shape=None):
        """Makes every variable."""
        del input_shape
        for cell in self.cells:
            cell.build()
        self.built = True

    def call(self, inputs, training=False):
        """Maps inputs to outputs and state; see the class."""
        x = tf.transpose(tf.convert_to_tensor(inputs["inputs"], tf.float32), [1, 0, 2])
        mask = inputs.get("mask")
        mask = None if mask is None else tf.transpose(tf.cast(mask, tf.bool))
        state = inputs.get("state") or [
            cell.zero_state(tf.shape(x)[1]) for cell in self.cells
        ]
        after = []
        for cell, before in zip(self.cells, state, strict=True):
            x, now = cell(x, tuple(before), training=training, mask=mask)
            after.append(now)
        return {"outputs": tf.transpose(x, [1, 0, 2]), "state": after}

    def use_plain_gradient(self) -> None:
        """Leaves gradients to automatic differentiation, for a SavedModel."""
        for cell in self.cells:
            cell.plain_gradient = True

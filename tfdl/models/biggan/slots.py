"""Weights as another project's files hold them: names, shapes and layouts."""

import dataclasses
from collections.abc import Callable, Mapping

import keras
import numpy as np

Change = Callable[[np.ndarray], np.ndarray]


def same(array: np.ndarray) -> np.ndarray:
    """Returns the array as it is."""
    return array


def transposed(array: np.ndarray) -> np.ndarray:
    """Exchanges the axes of a matrix."""
    return array.T


def to_oihw(array: np.ndarray) -> np.ndarray:
    """Returns a kernel [height, width, in, out] in torch's order."""
    return array.transpose(3, 2, 0, 1)


def to_hwio(array: np.ndarray) -> np.ndarray:
    """Returns torch's kernel in ours."""
    return array.transpose(2, 3, 1, 0)


@dataclasses.dataclass(frozen=True)
class Slot:
    """A variable, or a row of one, in the layout of another project.

    Attributes:
        variable: ours.
        theirs: from our layout to theirs.
        ours: from their layout to ours.
        row: the part of the variable that this is, None for all of it.
    """

    variable: keras.Variable
    theirs: Change = same
    ours: Change = same
    row: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape in the file."""
        shape = tuple(self.variable.shape)[0 if self.row is None else 1 :]
        return self.theirs(np.zeros(shape, np.float32)).shape

    def value(self) -> np.ndarray:
        """Returns the array as the file holds it."""
        array = self.variable.numpy()
        if self.row is not None:
            array = array[self.row]
        return np.array(self.theirs(array), order="C")

    def assign(self, array: np.ndarray) -> None:
        """Takes the array of a file."""
        value = self.ours(array)
        if self.row is not None:
            whole = self.variable.numpy().copy()
            whole[self.row] = value
            value = whole
        self.variable.assign(value)


def arrays(slots: Mapping[str, Slot]) -> dict[str, np.ndarray]:
    """Returns what the file holds, by name."""
    return {name: slot.value() for name, slot in slots.items()}


def rows_moved(first: int) -> tuple[Change, Change]:
    """Returns how [a, b, ...] becomes [b, a, ...] along the first axis, and back.

    Args:
        first: length of a.
    """

    def forward(array):
        return np.concatenate([array[first:], array[:first]])

    def back(array):
        rest = len(array) - first
        return np.concatenate([array[rest:], array[:rest]])

    return forward, back

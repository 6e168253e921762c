"""The convolutional networks of Zoph & Le (2017, arXiv:1611.01578, section 3.3)."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tfdl.engine import errors
from tfdl.models.automl.spaces import space
from tfdl.models.automl.spaces.space import Architecture, Decision

SIZES = (1, 3, 5, 7)
FILTERS = (24, 36, 48, 64)
STRIDES = (1, 2, 3)
SKIP = ("no", "yes")


@dataclasses.dataclass(frozen=True)
class ConvLayer:
    """A convolution, ReLU and batch norm of the layers `inputs`, concatenated.

    Attributes:
        height: of the filters.
        width: of the filters.
        filters: how many.
        stride_height: of the convolution.
        stride_width: of the convolution.
        inputs: the layers that it reads, from 0; the image if none.
    """

    height: int
    width: int
    filters: int
    stride_height: int = 1
    stride_width: int = 1
    inputs: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class ConvNet:
    """A network of such layers; those that none reads make its output together."""

    layers: tuple[ConvLayer, ...]

    def __post_init__(self):
        if not self.layers:
            raise errors.UserError("a network of convolutions needs a layer")
        for i, layer in enumerate(self.layers):
            sizes = dataclasses.astuple(layer)[:-1]
            if not all(type(size) is int and size > 0 for size in sizes):
                raise errors.UserError(f"layer {i} has sizes {list(sizes)}")
            if not set(layer.inputs) <= set(range(i)):
                raise errors.UserError(
                    f"layer {i} reads layers {list(layer.inputs)}; only earlier ones "
                    "can be read"
                )

    def loose_ends(self) -> tuple[int, ...]:
        """Returns the layers that no layer reads."""
        read = {j for layer in self.layers for j in layer.inputs}
        return tuple(i for i in range(len(self.layers)) if i not in read)

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON's types."""
        layers = [dataclasses.asdict(layer) for layer in self.layers]
        for layer in layers:
            layer["inputs"] = list(layer["inputs"])
        return {"kind": "zoph_conv", "layers": layers}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> "ConvNet":
        """Returns the network that `to_dict` was called on.

        Raises:
            UserError: it is none.
        """
        try:
            layers = []
            for fields in given["layers"]:
                fields = dict(fields)
                inputs = tuple(int(j) for j in fields.pop("inputs", ()))
                layers.append(ConvLayer(**fields, inputs=inputs))
        except (KeyError, TypeError, ValueError) as error:
            raise errors.UserError(
                f"a network of convolutions cannot be read: {error}"
            ) from None
        return cls(tuple(layers))

    def describe(self) -> list[str]:
        """Returns lines that tell a person what it is."""
        lines = []
        for i, layer in enumerate(self.layers):
            stride = (layer.stride_height, layer.stride_width)
            by = "" if stride == (1, 1) else " by {}x{}".format(*stride)
            read = ", ".join(map(str, layer.inputs)) or "image"
            lines.append(
                f"layer {i} = {layer.filters} of {layer.height}x{layer.width}{by} "
                f"({read})"
            )
        lines.append(f"output = {', '.join(map(str, self.loose_ends()))}")
        return lines


class ZophConvSpace(space.Space):
    """Convolutions of chosen sizes, each reading any of those before it.

    Decisions, layer by layer: filter height, filter width, how many filters, the
    strides if they are decided, then for every earlier layer whether it is read.

    Args:
        layers: how many there are, at first.
        grow_by: how many layers more after every `grow_every` proposals; the paper
            began with 6 and added 2 every 1,600. Mutations keep a parent's depth.
        grow_every: see `grow_by`.
        max_layers: where growing ends; `layers` by default: no growing.
        heights: the choices of a filter's height.
        widths: and of its width.
        filters: and of how many.
        strides: whether strides of 1, 2 and 3 are decided for height and width.
        skips: whether connections are decided; else each layer reads the last one.
    """

    name = "zoph_conv"

    def __init__(
        self,
        layers: int = 6,
        grow_by: int = 2,
        grow_every: int = 1600,
        max_layers: int = 0,
        heights: Sequence[int] = SIZES,
        widths: Sequence[int] = SIZES,
        filters: Sequence[int] = FILTERS,
        strides: bool = False,
        skips: bool = True,
    ):
        self.first_layers = space.count("space.layers", layers)
        self.grow_by = space.count("space.grow_by", grow_by)
        self.grow_every = space.count("space.grow_every", grow_every)
        self.layers = space.count("space.max_layers", max_layers, 0) or layers
        if self.layers < layers:
            raise errors.UserError(
                f"space.max_layers={max_layers} is less than space.layers={layers}"
            )
        self.skips = bool(skips)
        sizes = [("height", heights), ("width", widths), ("filters", filters)]
        if strides:
            sizes += [("stride height", STRIDES), ("stride width", STRIDES)]
        self.sizes = []
        for size, choices in sizes:
            for choice in choices:
                space.count(f"a choice of {size}", choice)
            self.sizes.append((size, tuple(choices)))
        decisions, anchors = [], []
        for i in range(self.layers):
            for size, choices in self.sizes:
                values = tuple(map(str, choices))
                decisions.append(Decision(f"layer {i} {size}", size, values))
            anchors.append(len(decisions))
            for j in range(i if self.skips else 0):
                name = f"layer {i} reads layer {j}"
                decisions.append(Decision(name, "skip", SKIP, link=(j, i)))
        self.anchors = tuple(anchors) if self.skips else ()
        super().__init__(decisions)

    def length(self, layers: int) -> int:
        """Returns how many values an architecture of so many layers has."""
        skips = layers * (layers - 1) // 2 if self.skips else 0
        return layers * len(self.sizes) + skips

    def depth(self, number: int) -> int:
        """Returns how many layers proposal `number` has."""
        grown = self.first_layers + number // self.grow_every * self.grow_by
        return min(grown, self.layers)

    def at(self, number: int) -> space.Space:
        """Returns the space of as many layers as proposal `number` has."""
        depth = self.depth(number)
        return self if depth == self.layers else _Shallower(self, depth)

    def check(self, arch: Sequence[int]) -> Architecture:
        """Returns `arch` as a tuple; see `Space.check`. Any depth is allowed."""
        depths = {*range(self.first_layers, self.layers, self.grow_by), self.layers}
        lengths = {self.length(depth): depth for depth in sorted(depths)}
        if len(arch) not in lengths:
            allowed = ", ".join(f"{n} ({depth} layers)" for n, depth in lengths.items())
            raise errors.UserError(
                f"an architecture of {self.name} has as many values as {allowed}; "
                f"not {len(arch)}"
            )
        return self.check_values(arch)

    def decode(self, arch: Sequence[int]) -> ConvNet:
        """Returns the network of an architecture."""
        values = iter(self.check(arch))
        layers: list[ConvLayer] = []
        while self.length(len(layers)) < len(arch):
            i = len(layers)
            sizes = [choices[next(values)] for _, choices in self.sizes]
            strides = sizes[3:] or [1, 1]
            inputs = tuple(j for j in range(i) if next(values)) if self.skips else ()
            if not self.skips and i:
                inputs = (i - 1,)
            layers.append(ConvLayer(*sizes[:3], *strides, inputs))
        return ConvNet(tuple(layers))

    def describe(self, arch: Architecture) -> list[str]:
        """Returns a line for each layer."""
        return self.decode(arch).describe()


class _Shallower(space.Space):
    """The first layers of a space; its architectures are the space's."""

    def __init__(self, whole: ZophConvSpace, layers: int):
        self.whole = whole
        self.name = whole.name
        self.anchors = whole.anchors[:layers]
        super().__init__(whole.decisions[: whole.length(layers)])

    def decode(self, arch: Sequence[int]) -> ConvNet:
        return self.whole.decode(arch)

    def describe(self, arch: Architecture) -> list[str]:
        return self.whole.describe(arch)

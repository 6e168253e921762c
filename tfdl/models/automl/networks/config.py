"""The sizes and choices of a network of cells, and which cells it has."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from tfdl.engine import errors, options
from tfdl.models.automl.spaces import genotypes
from tfdl.models.automl.spaces.cells import CellGenotype

STEMS = ("cifar", "imagenet")
INITIALIZERS = ("fan_out", "keras")
DROP_PATHS = ("v1", "v2", "v3")
MOST = 1 << 15

_CIFAR = {
    "stem": "cifar",
    "cells": 18,
    "num_classes": 10,
    "image_size": 32,
    "aux_head": True,
    "epsilon": 1e-5,
    "momentum": 0.9,
    "dropout_keep": 1.0,
}
_IMAGENET = {
    "stem": "imagenet",
    "cells": 18,
    "num_classes": 1000,
    "aux_head": True,
    "epsilon": 1e-3,
    "momentum": 0.9997,
    "dropout_keep": 0.5,
}
_MOBILE = {"cells": 12, "filters": 44, "stem_filters": 32, "image_size": 224}
_LARGE = {"filters": 168, "stem_filters": 96, "image_size": 331}
# The TPU repository's: narrower auxiliary heads, paths dropped by time alone.
_AMOEBANET = {
    **_IMAGENET,
    "filters": 256,
    "stem_filters": 32,
    "image_size": 224,
    "aux_filters": (51, 307),
    "drop_path_keep": 0.7,
    "drop_path_version": "v1",
}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "nasnet_a_cifar": {
        "genotype": "nasnet_a",
        **_CIFAR,
        "filters": 32,
        "drop_path_keep": 0.6,
    },
    "nasnet_a_cifar_large": {
        "genotype": "nasnet_a",
        **_CIFAR,
        "cells": 21,
        "filters": 96,
        "drop_path_keep": 0.6,
    },
    "nasnet_mobile": {"genotype": "nasnet_a", **_IMAGENET, **_MOBILE},
    "nasnet_large": {
        "genotype": "nasnet_a",
        **_IMAGENET,
        **_LARGE,
        "skip_reduction": True,
        "drop_path_keep": 0.7,
    },
    "amoebanet_a_cifar": {
        "genotype": "amoebanet_a",
        **_CIFAR,
        "filters": 36,
        "drop_path_keep": 0.7,
    },
    **{
        f"amoebanet_{letter}": {"genotype": f"amoebanet_{letter}", **_AMOEBANET}
        for letter in "abcd"
    },
}


class State(NamedTuple):
    """What is known of a tensor before there is one.

    Attributes:
        channels: its depth.
        halvings: how often the picture was halved. Which inputs of a cell have to be
            halved follows from this, never from a picture's size: the same weights
            fit pictures of every size.
    """

    channels: int
    halvings: int


class Place(NamedTuple):
    """A cell's place in a network.

    Attributes:
        name: TF-slim's: "cell_stem_0", "cell_3", "reduction_cell_0".
        kind: "normal" or "reduction".
        filters: outputs of each op.
        current: the output of the cell before.
        previous: the output of the cell before that one, if there is any.
        source: which of the outputs so far `previous` is, counted from 0 at the stem.
    """

    name: str
    kind: str
    filters: int
    current: State
    previous: State | None
    source: int | None


@dataclasses.dataclass(frozen=True)
class CellsConfig:
    """A network of cells.

    Attributes:
        genotype: the two cells; a published one's name is allowed.
        cells: normal cells; reduction cells come on top.
        filters: F, the outputs of each op up to the first reduction. NASNet's N @ P
            means 3 N cells and P / 24 filters.
        stem: "cifar": a 3x3 convolution; "imagenet": one with stride 2, and two
            reduction cells.
        stem_filters: of that convolution; 0 stands for 3 F.
        reductions: reduction cells after the stem, evenly spaced.
        filter_scaling: what a reduction cell multiplies the filters with.
        skip_reduction: the cell after a reduction cell takes as its previous input
            what that one took, not its current input.
        num_classes: outputs.
        aux_head: whether training has a second classifier before the second
            reduction.
        aux_filters: its two convolutions' outputs.
        image_size: of the pictures that the auxiliary head is made for.
        dropout_keep: before the classifier.
        drop_path_keep: ScheduledDropPath's probability of keeping a path at the end
            of training, in the last cell; 1 drops nothing.
        drop_path_version: whether paths are dropped more with time ("v1"), with
            depth ("v2") or with both ("v3").
        epsilon: of batch normalisation.
        momentum: part of the moving statistics that stays in each step.
        unbiased_moving_variance: moving variances follow the n/(n-1) variance.
        synchronised: batch statistics are those of the global batch.
        initializer: "fan_out" (TF-slim) or "keras" (keras.applications).
        zero_padded_pools: pools with stride 2 see zeros around the picture, as in
            keras.applications.
    """

    genotype: CellGenotype
    cells: int = 18
    filters: int = 32
    stem: str = "cifar"
    stem_filters: int = 0
    reductions: int = 2
    filter_scaling: int = 2
    skip_reduction: bool = False
    num_classes: int = 10
    aux_head: bool = False
    aux_filters: tuple[int, int] = (128, 768)
    image_size: int = 32
    dropout_keep: float = 1.0
    drop_path_keep: float = 1.0
    drop_path_version: str = "v3"
    epsilon: float = 1e-5
    momentum: float = 0.9
    unbiased_moving_variance: bool = True
    synchronised: bool = False
    initializer: str = "fan_out"
    zero_padded_pools: bool = False

    def __post_init__(self):
        if isinstance(self.genotype, str):
            given = genotypes.published(self.genotype)
        elif hasattr(self.genotype, "items"):
            given = genotypes.from_dict(dict(self.genotype.items()))
        else:
            given = self.genotype
        if not isinstance(given, CellGenotype):
            raise errors.UserError(
                f"a network of cells needs a genotype of cells, got {self.genotype!r}"
            )
        object.__setattr__(self, "genotype", given)
        object.__setattr__(self, "aux_filters", tuple(self.aux_filters))
        if len(self.aux_filters) != 2:
            raise errors.UserError("network.aux_filters has to be two numbers")
        if not self.stem_filters:
            object.__setattr__(self, "stem_filters", 3 * self.filters)
        sizes = {
            name: getattr(self, name)
            for name in ("cells", "filters", "stem_filters", "filter_scaling")
        }
        sizes |= {"num_classes": self.num_classes, "image_size": self.image_size}
        sizes |= {"aux_filters": min(self.aux_filters)}
        for name, value in sizes.items():
            _whole(name, value, 1)
        _whole("reductions", self.reductions, 0)
        for name, allowed in (
            ("stem", STEMS),
            ("initializer", INITIALIZERS),
            ("drop_path_version", DROP_PATHS),
        ):
            if getattr(self, name) not in allowed:
                raise errors.unknown(f"network.{name}", getattr(self, name), allowed)
        for field in dataclasses.fields(self):
            value, name = getattr(self, field.name), f"network.{field.name}"
            if field.type is bool and type(value) is not bool:
                raise errors.UserError(f"{name} has to be true or false, got {value!r}")
            if field.type is float:
                keep = field.name.endswith("keep")
                options.number(name, value, 1e-6 if keep else 0.0, 1.0 + 1e-9 * keep)
        if self.aux_head:
            self.aux_place()
            self.aux_kernel()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "CellsConfig":
        """Returns the configuration in a dict; a `preset` in it comes first.

        Raises:
            UserError: an unknown field, or a value that makes no sense.
        """
        values = dict(values.items())
        values.pop("kind", None)
        preset = values.pop("preset", None)
        known = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                raise errors.unknown("field of the network", key, [*known, "preset"])
        if preset:
            if preset not in PRESETS:
                raise errors.unknown("network", preset, PRESETS)
            values = {**PRESETS[preset], **values}
        if not values.get("genotype"):
            raise errors.UserError("a network of cells needs a genotype or a preset")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON's types."""
        values = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self)
        }
        values["genotype"] = self.genotype.to_dict()
        values["aux_filters"] = list(self.aux_filters)
        return {"kind": "cells", **values}

    def name(self) -> str:
        """Returns the preset that this network is, or "custom"."""
        shape = ("genotype", "cells", "filters", "stem", "stem_filters", "reductions")
        shape += ("filter_scaling", "skip_reduction")
        for name in PRESETS:
            preset = CellsConfig.from_dict({"preset": name})
            if all(getattr(self, f) == getattr(preset, f) for f in shape):
                return name
        return "custom"

    @property
    def num_features(self) -> int:
        """Channels after the last cell."""
        place = self.places()[-1]
        return len(self.genotype.normal.used) * place.filters

    @property
    def total_cells(self) -> int:
        """The number of cells by which ScheduledDropPath measures depth."""
        return self.cells + self.reductions + 2 * (self.stem == "imagenet")

    def reduction_places(self) -> list[int]:
        """Returns before which normal cells there is a reduction cell."""
        parts = self.reductions + 1
        return [int(k / parts * self.cells) for k in range(1, parts)]

    def aux_place(self) -> int:
        """Returns after which normal cell the auxiliary head is."""
        reductions = self.reduction_places()
        if len(reductions) < 2 or reductions[1] == 0:
            raise errors.UserError(
                f"network.aux_head: {self.cells} cells with {self.reductions} "
                "reductions have no place for an auxiliary head: it comes before the "
                "second reduction"
            )
        return reductions[1] - 1

    def aux_kernel(self) -> int:
        """Returns the side of the map that the auxiliary head flattens."""
        side = aux_side(self.stem, self.image_size)
        if side < 1:
            raise errors.UserError(
                f"network.image_size={self.image_size} is too small for the auxiliary "
                "head, which looks at squares of 5x5; leave it out (aux_head=false)"
            )
        return side

    def places(self) -> list[Place]:
        """Returns the cells in order, with what goes into each."""
        result: list[Place] = []
        outputs = [State(self.stem_filters, int(self.stem == "imagenet"))]

        def add(name: str, kind: str, filters: int, source: int | None) -> None:
            current = outputs[-1]
            previous = None if source is None else outputs[source]
            result.append(Place(name, kind, filters, current, previous, source))
            used = getattr(self.genotype, kind).used
            halvings = current.halvings + (kind == "reduction")
            outputs.append(State(len(used) * filters, halvings))

        def before_last() -> int | None:
            return len(outputs) - 2 if len(outputs) > 1 else None

        if self.stem == "imagenet":
            for i in range(2):
                filters = self.filters // self.filter_scaling ** (2 - i)
                if not filters:
                    raise errors.UserError(
                        f"network.filters={self.filters} are too few for the stem's "
                        f"cells, which have one in {self.filter_scaling**2}"
                    )
                add(f"cell_stem_{i}", "reduction", filters, before_last())
        filters, reductions = self.filters, self.reduction_places()
        for i in range(self.cells):
            source = before_last()
            if i in reductions:
                filters *= self.filter_scaling
                number = reductions.index(i)
                add(f"reduction_cell_{number}", "reduction", filters, source)
                if not self.skip_reduction:
                    source = before_last()
            add(f"cell_{i}", "normal", filters, source)
        return result

    def fewest_parameters(self) -> int:
        """Returns a number of weights that the network has more than."""
        places = self.places()
        cells = sum(place.current.channels * place.filters for place in places)
        return cells + self.num_features * self.num_classes


def aux_side(stem: str, image_size: int) -> int:
    """Returns the side of the map that is left of a picture in the auxiliary head.

    One reduction cell, or three, and a 5x5 mean with stride 3 come before.
    """
    size, halvings = image_size, 1
    if stem == "imagenet":
        size, halvings = (size - 3) // 2 + 1, 3
    for _ in range(halvings):
        size = (size + 1) // 2
    return (size - 5) // 3 + 1


def _whole(name: str, value: Any, least: int) -> None:
    if type(value) is not int or not least <= value <= MOST:
        raise errors.UserError(
            f"network.{name} has to be a whole number in [{least}, {MOST}], got "
            f"{value!r}"
        )

"""Search spaces: what a proposer may choose, as sequences of decisions."""

from collections.abc import Mapping
from typing import Any

from tfdl.engine import errors, options
from tfdl.models.automl.spaces import (
    bits,
    cells,
    dag,
    enas,
    graph_networks,
    recurrent_cells,
    zoph_conv,
)
from tfdl.models.automl.spaces.space import Space

SPACES = {
    "amoeba": cells.amoeba,
    "bits": bits.BitSpace,
    "dag": dag.DagSpace,
    "enas_macro": enas.MacroSpace,
    "enas_micro": enas.MicroSpace,
    "enas_rnn": recurrent_cells.EnasRnnSpace,
    "graph_networks": graph_networks.GraphNetworkSpace,
    "nasnet": cells.nasnet,
    "zoph_conv": zoph_conv.ZophConvSpace,
    "zoph_rnn": recurrent_cells.ZophRnnSpace,
}


def create(config: Mapping[str, Any]) -> Space:
    """Returns the space that a configuration names, e.g. `{"name": "nasnet"}`.

    Args:
        config: the name in `SPACES`, and the arguments of what it names.

    Raises:
        UserError: an unknown name or option, or no architecture is possible.
    """
    if not isinstance(config, Mapping) and not hasattr(config, "items"):
        raise errors.UserError(f"a space has to be given as options, got {config!r}")
    return options.construct("space", SPACES, dict(config.items()))

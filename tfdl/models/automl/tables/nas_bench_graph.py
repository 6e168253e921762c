"""NAS-Bench-Graph: 26,206 graph networks, each trained on nine data sets.

The package nas-bench-graph 1.4.0 carries the scores (Qin et al. 2022,
arXiv:2206.09166, Apache-2.0) as pickles; its code is not run and nothing in the
pickles is. Every score is the mean of three trainings.
"""

import importlib.util
import pathlib

import numpy as np

from tfdl.checkpoints import numpy_pickle, restricted_pickle
from tfdl.engine import errors, files
from tfdl.models.automl.spaces import graph_networks
from tfdl.models.automl.spaces.graph_networks import GraphNetworkSpace

DATASETS = (
    "arxiv",
    "citeseer",
    "computers",
    "cora",
    "cs",
    "photo",
    "physics",
    "proteins",
    "pubmed",
)
# proteins was measured with fewer operations.
_PROTEINS_OPS = ("gcn", "sage", "arma", "fc", graph_networks.SKIP)
_MAX_BYTES = 16 << 20
_SCALARS = {
    name: numpy_pickle.ALLOWED[name]
    for name in ("numpy.dtype", "numpy.core.multiarray.scalar")
}


def load(dataset: str) -> tuple[GraphNetworkSpace, np.ndarray, np.ndarray]:
    """Returns the space, and validation and test accuracy of all its architectures.

    The network of "skip" alone was not trained: it scores 0.

    Raises:
        UserError: no such data set, the package is missing, or not as expected.
    """
    if dataset not in DATASETS:
        raise errors.unknown("data set of NAS-Bench-Graph", dataset, DATASETS)
    path = _folder() / f"{dataset}.bench"
    data = files.require_file(path, _MAX_BYTES).read_bytes()
    records = restricted_pickle.load(data, str(path), allowed=_SCALARS)
    proteins = dataset == "proteins"
    space = GraphNetworkSpace(_PROTEINS_OPS if proteins else graph_networks.OPS)
    whole = GraphNetworkSpace()
    try:
        scores = {
            whole.tree(_decoded(key)): (
                float(record["valid_perf"]),
                float(record["perf"]),
            )
            for key, record in records.items()
        }
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise errors.UserError(f"{path} is no table of scores ({error!r})") from None
    scores[()] = (0.0, 0.0)
    trees = [space.tree(arch) for arch in space.all()]
    missing = set(trees) - set(scores)
    if missing:
        raise errors.UserError(f"{path} lacks {len(missing)} architectures")
    both = np.array([scores[tree] for tree in trees])
    if not np.all((both >= 0) & (both <= 1)):
        raise errors.UserError(f"{path} has scores that are not in [0, 1]")
    return space, both[:, 0], both[:, 1]


def _folder() -> pathlib.Path:
    found = importlib.util.find_spec("nas_bench_graph")
    if found is None or not found.submodule_search_locations:
        raise errors.UserError(
            "this table comes with a package: pip install nas-bench-graph==1.4.0, or "
            "tfdl[nasbench]"
        )
    return pathlib.Path(found.submodule_search_locations[0]) / "light"


def _decoded(key: int) -> tuple[int, ...]:
    """Returns the architecture that a key of the package stands for."""
    values = []
    for _ in range(4):
        key, op = divmod(key, 10)
        values.append(op)
    return (key, *reversed(values))

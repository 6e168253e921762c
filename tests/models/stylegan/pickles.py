"""Writes pickles in the original's layout, good ones and hostile ones."""

import copyreg
import pathlib
import pickle
import sys
import types

import numpy as np

from tests.models.stylegan.goldens import pickled


class Network:
    """Stands for the original's class; pickled under its name."""

    def __init__(self, state=None):
        self.state = state

    def __reduce_ex__(self, protocol):
        return copyreg.__newobj__, (Network,), self.state


Network.__module__, Network.__qualname__ = "dnnlib.tflib.network", "Network"


def networks(name: str) -> dict[str, dict]:
    """Returns the states of a golden's networks, as the original pickles them."""
    return {role: state(network) for role, network in pickled(name).items()}


def state(network) -> dict:
    return {
        "version": 3,
        "name": network.name,
        "static_kwargs": dict(network.options),
        "components": {
            part: Network(state(child)) for part, child in network.parts.items()
        },
        "build_module_src": "raise SystemExit('this was run')",
        "build_func_name": network.function,
        "variables": [
            (key, np.float32(value) if value.ndim == 0 else value)
            for key, value in network.arrays.items()
        ],
    }


def dump(path: pathlib.Path, content, protocol: int = 4) -> pathlib.Path:
    """Pickles a state, or a tuple of states and other things; returns the path."""

    def wrapped(item):
        return Network(item) if isinstance(item, dict) else item

    made = (
        tuple(map(wrapped, content)) if isinstance(content, tuple) else wrapped(content)
    )
    package = types.ModuleType("dnnlib")
    modules = {
        "dnnlib": package,
        "dnnlib.tflib": types.ModuleType("dnnlib.tflib"),
        "dnnlib.tflib.network": types.ModuleType("dnnlib.tflib.network"),
    }
    modules["dnnlib.tflib.network"].Network = Network
    package.tflib = modules["dnnlib.tflib"]
    package.tflib.network = modules["dnnlib.tflib.network"]
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        data = pickle.dumps(made, protocol)
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path

"""Networks and arrays of the reference's checkpoints."""

import json

import numpy as np

from tests.helpers import golden
from tfdl.checkpoints import mapping, torch_archive
from tfdl.models.biggan import ajb_names, slots
from tfdl.models.biggan.model import build_discriminator, build_generator

COUNTER = ".accumulation_counter"


def config(folder):
    """Returns the arguments that the reference was given."""
    return json.loads(golden("biggan", folder, "config.json").read_text())


def read(folder, file):
    """Returns a state dict."""
    arrays = torch_archive.read(golden("biggan", folder, file))
    return {k: np.asarray(v) for k, v in arrays.items() if not k.endswith(COUNTER)}


def generator(folder, file="G.pth", mybn=False, **changes):
    """Returns the generator of a state dict."""
    arrays = read(folder, file)
    network = build_generator(
        ajb_names.generator_config(arrays, file, **changes), empty=True
    )
    mapping.assign(ajb_names.slots(network, mybn=mybn), arrays, file)
    return network


def discriminator(folder, file="D.pth", **changes):
    """Returns the discriminator of a state dict."""
    arrays = read(folder, file)
    network = build_discriminator(
        ajb_names.discriminator_config(arrays, file, **changes), empty=True
    )
    mapping.assign(ajb_names.slots(network), arrays, file)
    return network


def arrays(network, mybn=False):
    """Returns a network's state in the reference's names and layouts."""
    return slots.arrays(ajb_names.slots(network, mybn=mybn))

"""A class-conditional BigGAN on scikit-learn's digits, in a few minutes.

    tfdl train --model=biggan

Everything of the method in miniature: a class embedding that all blocks share, parts of
z for every block, attention, spectral normalisation, the hinge loss, averaged weights
whose statistics are measured anew, a table of statistics for every truncation.
"""

from ml_collections import ConfigDict

from tfdl.models.biggan import recipes


def get_config() -> ConfigDict:
    """Returns a BigGAN of 32x32 grey pictures."""
    return recipes.digits()

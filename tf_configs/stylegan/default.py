r"""A small StyleGAN that grows on scikit-learn's digits, in a few minutes.

8x8, 16x16 and 32x32 pixels with fade-ins; nothing has to be fetched.

    tfdl train --model=stylegan
"""

from ml_collections import ConfigDict

from tfdl.models.stylegan import recipes


def get_config() -> ConfigDict:
    """Returns small networks and a short schedule."""
    config = recipes.small(32, channels=1)
    config.description = "a small StyleGAN that grows on scikit-learn's digits"
    config.data = "embedded:square-digits"
    return config

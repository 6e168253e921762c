"""ENAS's search for a recurrent cell on the Penn Treebank (google-research's enas_lm).

Pham et al. 2018, section 3.1, with the constants of the code that corrects the first
one's evaluation. Train the winner with the recipe `enas_ptb_final`, start=architecture.

    tfdl train --model=automl --recipe=enas_ptb --config.data=ptb:/data/penn
"""

from ml_collections import ConfigDict

from tfdl.models.automl.enas import recipes


def get_config() -> ConfigDict:
    """Returns 600 epochs of eight nodes a cell."""
    config = recipes.text("ptb:penn", space={"name": "enas_rnn", "nodes": 8})
    config.model = "automl"
    config.description = "ENAS's recurrent cells on the Penn Treebank"
    config.log_every = config.steps_per_loop = 50
    return config

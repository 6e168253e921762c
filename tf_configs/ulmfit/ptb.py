"""AWD-LSTM on the Penn Treebank (Merity et al. 2017).

tfdl train --model=ulmfit --recipe=ptb --config.data=ptb:/data/penn
"""

from ml_collections import ConfigDict

from tfdl.models.ulmfit import recipes


def get_config() -> ConfigDict:
    """Returns awd-lstm-lm's settings: SGD, averaged when it stops getting better."""
    config = recipes.awd_lstm("ptb:penn", batch_size=20, epochs=500)
    config.description = "AWD-LSTM on the Penn Treebank"
    config.dropouts.input_p, config.dropouts.hidden_p = 0.4, 0.25
    return config

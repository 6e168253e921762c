"""The second run of AWD-LSTM on the Penn Treebank: averaged from the first step on.

    tfdl train --model=ulmfit --recipe=ptb_finetune --config.data=ptb:/data/penn \
        --init_from=runs/ulmfit-ptb/model
"""

from ml_collections import ConfigDict

from tfdl.models.ulmfit import recipes


def get_config() -> ConfigDict:
    """Returns finetune.py's settings."""
    config = recipes.awd_lstm("ptb:penn", batch_size=20, epochs=500, averaging="asgd")
    config.description = "AWD-LSTM on the Penn Treebank, fine-tuned"
    config.start = "model"
    config.dropouts.input_p, config.dropouts.hidden_p = 0.4, 0.25
    return config

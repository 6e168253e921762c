"""AWD-LSTM on WikiText-2 (Merity et al. 2017).

    tfdl train --model=ulmfit --recipe=wikitext2 \
        --config.data=wikitext:/data/wikitext-2
"""

from ml_collections import ConfigDict

from tfdl.models.ulmfit import recipes


def get_config() -> ConfigDict:
    """Returns awd-lstm-lm's settings for WikiText-2."""
    config = recipes.awd_lstm("wikitext:wikitext-2", batch_size=80, epochs=750)
    config.description = "AWD-LSTM on WikiText-2"
    config.dropouts.hidden_p = 0.2
    return config

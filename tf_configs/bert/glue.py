r"""Fine-tune BERT on a GLUE task (paper section 4.1).

    tfdl train --model=bert --recipe=glue --init_from=bert-base \
        --config.glue_task=mrpc --config.data=glue:/data/GLUE/MRPC

Batch 32, 3 epochs, learning rate 5e-5; the paper picks the best of 5e-5, 4e-5, 3e-5 and
2e-5 on the development set. STS-B needs --config.kind=regression. For small sets
--config.restarts=5 keeps the best of five seeds, and
--config.optimizer.bias_correction=true steadies training.
"""

from ml_collections import ConfigDict

from tfdl.models.bert import recipes


def get_config() -> ConfigDict:
    """Returns the fields; the task and its folder have to be given."""
    config = recipes.classification()
    config.glue_task = "mrpc"
    config.data = "glue:"
    return config

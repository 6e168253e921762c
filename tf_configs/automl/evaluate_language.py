"""Measures a language model: loss, perplexity and accuracy a token.

    tfdl evaluate --model_dir=runs/automl-language_search/model
    tfdl evaluate --model_dir=MODEL --data=ptb:/data/penn

A corpus that is given is measured on its test text, if it has one; without, the test
text of what the model was trained on.
"""

from ml_collections import ConfigDict

from tfdl.models.automl import language_recipes


def get_config() -> ConfigDict:
    """Returns the fields."""
    return language_recipes.stage()

"""ULMFiT in miniature on embedded text, in a few minutes on two cores.

A language model learns from what Python code says about itself, is tuned on passages
of Python's documentation, and becomes a classifier of what a passage is about, the
head first. The same network trained on the labels alone shows what that was good for.

    tfdl train --model=ulmfit
"""

from ml_collections import ConfigDict

from tfdl.models.ulmfit import recipes


def get_config() -> ConfigDict:
    """Returns four stages: from scratch, pretrain, tune, classify."""
    config = recipes.common("language_model")
    config.description = "pretrained, tuned and classifying, on Python's documentation"
    config.log_every, config.checkpoint_every = 100, 500
    encoder = {"embedding_size": 64, "hidden_size": 128, "num_layers": 3}

    pretrain = recipes.language_model()
    pretrain.name, pretrain.start = "pretrain", "random"
    pretrain.data, pretrain.held_out = "embedded:docstrings", 0.03
    pretrain.encoder = ConfigDict(encoder)
    pretrain.max_vocab = 6000
    recipes.scaled(pretrain, recipes.TUNING, 0.2)
    pretrain.batch_size, pretrain.bptt = 32, 40
    pretrain.optimizer = recipes.adam(weight_decay=0.0)
    pretrain.phases = (recipes.phase("all", 1, 1e-2, schedule={"name": "one_cycle"}),)

    tune = recipes.language_model()
    tune.name, tune.data = "tune", "embedded:topics"
    tune.encoder = ConfigDict(encoder)
    tune.min_count = 2
    recipes.scaled(tune, recipes.TUNING, 0.5)
    tune.batch_size, tune.bptt = 16, 40
    tune.phases = (
        recipes.phase(
            "all", 4, 4e-3, shares=recipes.LM_SHARES, schedule=recipes.slanted()
        ),
    )

    classify = recipes.classifier()
    classify.name, classify.data = "classify", "embedded:topics"
    classify.encoder = ConfigDict(encoder)
    recipes.scaled(classify, recipes.CLASSIFYING, 0.3)
    # The paper's 2.6 between groups was worse here: small networks need all layers.
    classify.phases = (
        recipes.phase("head", 1, 1e-2, trained="last:1"),
        recipes.phase("all", 12, 1.2e-2, ratio=1.1, schedule=recipes.slanted()),
    )
    classify.compare_with = "scratch"

    scratch = classify.copy_and_resolve_references()
    scratch.name, scratch.start, scratch.min_count = "scratch", "random", 2
    scratch.phases = recipes.full(5e-3, 12)
    scratch.compare_with = ""

    config.stages = (scratch, pretrain, tune, classify)
    return config

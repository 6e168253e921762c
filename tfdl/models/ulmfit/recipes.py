"""The fields of ULMFiT's recipes with their defaults; recipes change some of them."""

from ml_collections import ConfigDict

from tfdl.engine.config import base_config
from tfdl.engine.ema import NEVER

# Rates that ULMFiT multiplies by `dropmult` (fastai 0.7's scripts).
TUNING = {"input_p": 0.25, "output_p": 0.1, "weight_p": 0.2, "embed_p": 0.02, "hidden_p": 0.15}  # fmt: skip  # noqa: E501
CLASSIFYING = {"input_p": 0.4, "output_p": 0.0, "weight_p": 0.5, "embed_p": 0.05, "hidden_p": 0.3}  # fmt: skip  # noqa: E501
AWD = {"input_p": 0.65, "output_p": 0.4, "weight_p": 0.5, "embed_p": 0.1, "hidden_p": 0.3}  # fmt: skip  # noqa: E501
NO_DROPOUT = dict.fromkeys(TUNING, 0.0)
# Of rnn0, rnn1, rnn2 and the embedding with the decoder (finetune_lm.py).
LM_SHARES = (1 / 6, 1 / 3, 1.0, 1 / 2)
RATIO = 2.6
LAYERS = 3


def adam(**changes) -> ConfigDict:
    """Returns torch's Adam with the scripts' betas; the paper's text has b1 = 0.7."""
    fields = {
        "name": "adam",
        "beta_1": 0.8,
        "beta_2": 0.99,
        "weight_decay": 1e-7,
        "global_clip_norm": 0.3,
        "averaging": "none",
        "nonmono": 0,
    }
    return ConfigDict({**fields, **changes})


def sgd(**changes) -> ConfigDict:
    """Returns awd-lstm-lm's SGD."""
    fields = {
        "name": "sgd",
        "weight_decay": 1.2e-6,
        "global_clip_norm": 0.25,
        "averaging": "none",
        "nonmono": 0,
    }
    return ConfigDict({**fields, **changes})


def average(config: ConfigDict, kind: str, nonmono: int = 5) -> None:
    """Turns averaging on: "nt_asgd", or "asgd" from the start."""
    config.optimizer.averaging, config.optimizer.nonmono = kind, nonmono
    # The decay is the mean's own; the number only asks for averages.
    config.ema_decay = 0.5
    config.ema_start = NEVER if kind == "nt_asgd" else 0


def phase(name: str, epochs: int, rate: float, **changes) -> dict:
    """Returns a phase; see `steps`."""
    fields = {
        "name": name,
        "epochs": epochs,
        "trained": "all",
        "learning_rate": rate,
        "ratio": 1.0,
        "shares": (),
        "schedule": {"name": "constant"},
        "momentum": (),
    }
    return {**fields, **changes}


def slanted(**changes) -> dict:
    """Returns the slanted triangular schedule; it never falls below rate / ratio."""
    return {"name": "slanted_triangular", "floor": True, **changes}


def circular(div: float, cut_div: float) -> dict:
    """Returns fastai 0.7's triangle."""
    return {"name": "circular", "div": div, "cut_div": cut_div}


def gradual(
    rate: float, epochs: int, layers: int = LAYERS, schedule: dict | None = None
) -> tuple[dict, ...]:
    """The paper's gradual unfreezing: a group more each epoch, then all of them."""
    schedule = schedule or slanted()
    count = layers + 2
    found = [
        phase(f"last {n}", 1, rate, trained=f"last:{n}", ratio=RATIO, schedule=schedule)
        for n in range(1, count)
    ]
    return (*found, phase("all", epochs, rate, ratio=RATIO, schedule=schedule))


def scripted(rate: float, epochs: int) -> tuple[dict, ...]:
    """The unfreezing of fastai 0.7's train_clas.py."""
    first = circular(8, 3)
    return (
        phase("head", 1, rate, trained="last:1", ratio=RATIO, schedule=first),
        phase("last 2", 1, rate, trained="last:2", ratio=RATIO, schedule=first),
        phase("all", epochs, rate, ratio=RATIO, schedule=circular(8, 8)),
    )


def notebook(rate: float = 0.1) -> tuple[dict, ...]:
    """The unfreezing of fastai 1's ULMFiT notebook."""
    cycle = {"name": "one_cycle"}
    common = {"ratio": RATIO, "schedule": cycle, "momentum": (0.8, 0.7, 0.8)}
    return (
        phase("head", 1, rate, **{**common, "trained": "last:1"}),
        phase("last 2", 1, rate / 2, **{**common, "trained": "last:2"}),
        phase("last 3", 1, rate / 4, **{**common, "trained": "last:3"}),
        phase("all", 2, rate / 20, **common),
    )


def chain_thaw(layers: int = LAYERS, epochs: int = 1) -> tuple[dict, ...]:
    """Chain-thaw (Felbo et al. 2017): one group at a time, then all."""
    count = layers + 2
    order = [count - 1, *range(count - 1)]
    rates = [1e-3] + [1e-4] * (count - 1)
    thawed = [
        phase(f"only {group}", epochs, rate, trained=f"only:{group}")
        for group, rate in zip(order, rates, strict=True)
    ]
    return (*thawed, phase("all", epochs, 1e-4))


def last_only(rate: float, epochs: int) -> tuple[dict, ...]:
    """Trains the head alone."""
    return (phase("head", epochs, rate, trained="last:1"),)


def full(rate: float, epochs: int, ratio: float = 1.0) -> tuple[dict, ...]:
    """Trains all from the first step on; with a ratio, discriminatively."""
    return (phase("all", epochs, rate, ratio=ratio),)


def common(task: str) -> ConfigDict:
    """Returns what every recipe has."""
    config = base_config()
    config.model, config.task = "ulmfit", task
    config.data = ""  # see tfdl/data/text_corpora.py
    config.held_out = 0.1  # share of the documents that is measured on
    config.start = "model"  # model: from init_from or the stage before | random
    config.direction = "forward"  # forward | backward
    config.rules = "fastai2"  # fastai07 | fastai1 | fastai2 | words
    config.base = "regex"  # regex | whitespace | sentencepiece | spacy
    config.max_vocab = 0  # 0: the rules' own
    config.min_count = 0
    config.encoder = ConfigDict(
        {"embedding_size": 400, "hidden_size": 1152, "num_layers": LAYERS}
    )
    config.dropouts = ConfigDict(TUNING)
    config.dropmult = 1.0
    config.alpha, config.beta = 2.0, 1.0  # AR and TAR
    config.batch_size = 64
    config.eval_batch_size = 64  # per replica
    config.optimizer = adam()
    config.phases = ()
    config.keep_best = True  # the model of the best evaluation, not the last
    config.patience = 0  # evaluations without a better one before it stops
    config.checkpoint_every = 1000
    return config


def language_model() -> ConfigDict:
    """Returns the fields of a language model's recipe."""
    config = common("language_model")
    config.bptt = 70
    config.windows = "fastai2"  # awd-lstm-lm | fastai07 | fastai1 | fastai2
    config.window_multiple = 0  # lengths are multiples of it: few are compiled
    config.examples = 0  # read only so many labelled documents; 0: all text
    config.rescale_rate = False  # rates in proportion to the window's length
    config.sampled_softmax = 0  # words that stand for the vocabulary; 0: all
    config.sample_tokens = 60  # of the text that is generated to be looked at
    # The neural cache, in `tfdl evaluate` alone; a window of 0 is off.
    config.cache = ConfigDict({"window": 0, "theta": 1.0, "share": 0.1, "wait": True})
    return config


def classifier() -> ConfigDict:
    """Returns the fields of a classifier's recipe."""
    config = common("classify")
    config.held_out = 0.0  # 0: the data's own validation or test documents
    config.dropouts = ConfigDict(CLASSIFYING)
    config.batch_size = 32
    config.examples = 0  # labelled documents to learn from; 0: all
    config.max_tokens = 0  # of a document; 0: all
    config.head = ConfigDict(
        {
            "hidden": (50,),
            "dropouts": (0.4, 0.1),
            "bias": True,
            "beta": 0.0,
            "padding": "masked",  # masked | fastai07 | fastai1 | fastai2
            "bptt": 70,
            "max_len": 1400,
        }
    )
    config.compare_with = ""  # a stage of the run that the last lines tell of
    config.ensemble = ""  # a second model, e.g. a backward one, in evaluation
    config.optimizer = adam(weight_decay=1e-6, global_clip_norm=25.0)
    config.phases = gradual(1e-2, 10)
    return config


def scaled(config: ConfigDict, rates: dict, dropmult: float) -> None:
    """Sets dropout rates."""
    config.dropouts, config.dropmult = ConfigDict(rates), dropmult


def paper(data: str, lm_epochs: int = 15, epochs: int = 50) -> ConfigDict:
    """Returns the three stages of the paper without the first: tune, then classify.

    `--init_from` names the language model of general text.
    """
    config = common("language_model")
    config.log_every, config.steps_per_loop = 100, 50
    tune = language_model()
    tune.name, tune.data = "tune", data
    tune.rules, tune.windows, tune.bptt = "fastai07", "fastai07", 70
    tune.encoder.hidden_size = 1150
    tune.patience = 5
    tune.phases = (
        phase("all", lm_epochs, 4e-3, shares=LM_SHARES, schedule=circular(32, 10)),
    )
    classify = classifier()
    classify.name, classify.data = "classify", data
    classify.rules = "fastai07"
    classify.phases = scripted(1e-2, epochs)
    classify.eval_batch_size = 64
    config.stages = (tune, classify)
    return config


def awd_lstm(
    data: str, batch_size: int, epochs: int, averaging: str = "nt_asgd"
) -> ConfigDict:
    """Returns awd-lstm-lm's recipe (Merity et al. 2017) for text that is tokenized."""
    config = language_model()
    config.start, config.data = "random", data
    config.rules, config.windows, config.rescale_rate = "words", "awd-lstm-lm", True
    config.encoder.hidden_size = 1150
    config.dropouts, config.dropmult = ConfigDict(AWD), 1.0
    config.batch_size, config.eval_batch_size = batch_size, 10
    config.optimizer = sgd()
    average(config, averaging)
    config.phases = (phase("all", epochs, 30.0),)
    config.log_every, config.steps_per_loop = 200, 50
    return config

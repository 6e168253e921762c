"""The fields of BERT's recipes with their defaults; recipes change some of them."""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from tfdl.engine.config import base_config
from tfdl.models.bert.config import PRESETS

NOT_DECAYED = ("LayerNorm", "layer_norm", "bias")


def encoder(size: str = "base") -> ConfigDict:
    """Returns the fields of a published size; the vocabulary gives vocab_size."""
    layers, hidden, heads = PRESETS[size]
    return ConfigDict(
        {
            "hidden_size": hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "intermediate_size": 4 * hidden,
            "hidden_act": "gelu_tanh",
            "hidden_dropout_prob": 0.1,
            "attention_probs_dropout_prob": 0.1,
            "max_position_embeddings": 512,
            "type_vocab_size": 2,
            "initializer_range": 0.02,
        }
    )


def optimizer(learning_rate: float, **changes) -> ConfigDict:
    """Returns BERT's optimizer (optimization.py): clip at 1.0, decay 0.01."""
    fields = {
        "name": "bert_adam",
        "learning_rate": learning_rate,
        "warmup_proportion": 0.1,
        "warmup_steps": placeholder(int),
        "weight_decay": 0.01,
        "exclude_from_weight_decay": NOT_DECAYED,
        "global_clip_norm": 1.0,
        "bias_correction": False,
    }
    return ConfigDict({**fields, **changes})


def common(task: str) -> ConfigDict:
    """Returns what every BERT recipe has."""
    config = base_config()
    config.model, config.task = "bert", task
    config.encoder = encoder()
    config.vocab = ""  # vocab.txt; with init_from the model's own is used
    config.do_lower_case = True
    config.gradient_checkpointing = False
    config.freeze_layers = 0  # embeddings and the first k layers stay as they are
    config.eval_batch_size = 32  # per replica
    return config


def pretraining() -> ConfigDict:
    """Returns the fields of a pretraining recipe."""
    config = common("pretrain")
    config.data = ""  # embedded:topics | text:GLOB | tfrecord:GLOB
    config.eval_data = ""  # tfrecord:GLOB, held out
    config.train_vocab = 0  # learn a vocabulary of this size from the text
    config.held_out = 0.1  # share of every document's end, for text data
    config.eval_examples = 1000
    config.dupe_factor = 10
    config.masked_lm_prob = 0.15
    config.short_seq_prob = 0.1
    config.do_whole_word_mask = False
    config.dynamic_masking = False  # draw other masks at every step
    config.optimizer = optimizer(1e-4)
    config.phases = ()
    return config


def phase(name: str, length: int, slots: int, steps: int, batch_size: int):
    """Returns a pretraining phase of one sequence length."""
    return ConfigDict(
        {
            "name": name,
            "max_seq_length": length,
            "max_predictions_per_seq": slots,
            "steps": steps,
            "batch_size": batch_size,
            "data": "",
        }
    )


def finetuning(task: str) -> ConfigDict:
    """Returns the fields that all fine-tuning recipes have."""
    config = common(task)
    config.data = ""
    config.max_seq_length = 128
    config.batch_size = 32
    config.epochs = 3.0
    config.steps = 0  # instead of epochs
    config.bucketing = True  # batches of similar lengths
    config.bucket_multiple = 16
    config.head_dropout = 0.1  # under the output layer, in training
    config.unpad = False  # leave padding out of all but the attention
    config.optimizer = optimizer(5e-5)
    return config


def classification() -> ConfigDict:
    """Returns the fields of a classification recipe."""
    config = finetuning("classify")
    config.kind = "classification"  # classification | regression | multilabel
    config.glue_task = ""
    config.language = "en"  # of XNLI; in evaluation also "all"
    config.doc_stride = 0  # reads long texts in windows so far apart; 0 cuts them
    config.window_pooling = "mean"  # or max: how windows' logits are joined
    config.text_a = ""  # columns of a table; found by their usual names
    config.text_b = "auto"
    config.label = ""
    config.labels = ()
    return config


def question_answering() -> ConfigDict:
    """Returns the fields of a SQuAD recipe (run_squad.py)."""
    config = finetuning("squad")
    config.max_seq_length = 384
    config.doc_stride = 128
    config.max_query_length = 64
    config.n_best_size = 20
    config.max_answer_length = 30
    config.version_2 = False  # recognised from the development file as well
    config.null_score_diff_threshold = 0.0
    return config


def tagging() -> ConfigDict:
    """Returns the fields of a named-entity recipe."""
    config = finetuning("ner")
    config.labels = ()  # found in the training file when empty
    config.document_context = False  # windows go on over sentence ends
    config.feature_layers = ""  # e.g. concat_last_four: frozen encoder, BiLSTM
    config.lstm_units = 768
    return config

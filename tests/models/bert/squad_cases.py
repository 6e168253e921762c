"""The golden cases of run_squad.py and what is made from their questions."""

import json

from tests.helpers import golden
from tfdl.models.bert import squad
from tfdl.text.vocab import load_vocab
from tfdl.text.wordpiece import BertTokenizer

TINY = golden("bert", "squad_tiny.json")
GOLDEN = json.loads(golden("bert", "squad_postprocess.json").read_text())
CASES = GOLDEN["cases"]
TOKENIZER = BertTokenizer(load_vocab(golden("bert", "tf1", "vocab.txt")))


def examples(case, is_training=False):
    """Returns the questions; those of version 1.1 are the answerable ones only."""
    found = squad.read_examples(TINY, is_training, version_2=True)
    if not case["version_2_with_negative"]:
        found = [example for example in found if example.id.startswith("q-a")]
    return found


def windows(case, is_training=False):
    """Returns the windows of the questions, with the case's lengths."""
    return list(
        squad.convert_examples_to_features(
            examples(case, is_training),
            TOKENIZER,
            case["max_seq_length"],
            case["doc_stride"],
            case["max_query_length"],
            is_training,
        )
    )

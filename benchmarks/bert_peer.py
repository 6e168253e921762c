"""transformers on torch, driven line by line by benchmarks/bert.py.

Runs in an environment of its own that has torch and transformers. Reads a JSON object
per line (`{"do": NAME, ...}`) and answers with one.
"""

import json
import resource
import sys

import numpy as np
import torch
import transformers
from clock import Clock  # beside this file: the peer knows no package of ours

MODEL = {}


def load(folder, threads, labels):
    """Loads the same weights."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    kind = transformers.BertForSequenceClassification
    MODEL["classifier"] = kind.from_pretrained(folder, num_labels=labels)
    MODEL["pretrainer"] = transformers.BertForPreTraining.from_pretrained(folder)
    MODEL["tokenizer"] = transformers.BertTokenizer.from_pretrained(folder)
    return {"torch": torch.__version__, "transformers": transformers.__version__}


def memory():
    """The process's peak memory in MB."""
    return {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _batch(rows, width):
    ids = np.zeros([len(rows), width], np.int64)
    mask = np.zeros([len(rows), width], np.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row)], mask[i, : len(row)] = row, 1
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


def train(rows, labels, batch_size, width):
    """One epoch of AdamW with clipping; width 0 pads to each batch's longest."""
    model = MODEL["classifier"].train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    clock = Clock()
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        batch = _batch(part, width or max(map(len, part)))
        target = torch.tensor(labels[start : start + batch_size])
        loss = model(**batch, labels=target).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return clock.read()


def infer(rows, batch_size):
    """Class logits, each batch padded to its longest row."""
    model = MODEL["classifier"].eval()
    logits = []
    clock = Clock()
    with torch.inference_mode():
        for start in range(0, len(rows), batch_size):
            part = rows[start : start + batch_size]
            logits.append(model(**_batch(part, max(map(len, part)))).logits)
    taken = clock.read()
    return {**taken, "logits": torch.cat(logits).tolist()}


def pretrain(rows, positions, labels, steps):
    """Steps of BertForPreTraining on one batch, as its users train it."""
    model = MODEL["pretrainer"].train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    batch = _batch(rows, max(map(len, rows)))
    target = torch.full(batch["input_ids"].shape, -100)
    for i, where in enumerate(positions):
        target[i, where] = torch.tensor(labels[i])
    following = torch.zeros(len(rows), dtype=torch.long)
    clock = Clock()
    for _ in range(steps):
        out = model(**batch, labels=target, next_sentence_label=following)
        optimizer.zero_grad()
        out.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return clock.read()


def tokenize(texts):
    """The tokenizer that transformers gives by default, called on the batch."""
    clock = Clock()
    ids = MODEL["tokenizer"](texts, add_special_tokens=False)["input_ids"]
    return {**clock.read(), "ids": ids}


def sentences(folder, texts, batch_size):
    """Mean-pooled vectors of raw texts by a published model, in its own order."""
    if "sentences" not in MODEL:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        model = transformers.AutoModel.from_pretrained(folder)
        MODEL["sentences"] = tokenizer, model.eval()
    tokenizer, model = MODEL["sentences"]
    found = []
    clock = Clock()
    with torch.inference_mode():
        for start in range(0, len(texts), batch_size):
            part = texts[start : start + batch_size]
            batch = tokenizer(part, padding=True, truncation=True, return_tensors="pt")
            vectors = model(**batch).last_hidden_state
            mask = batch["attention_mask"][:, :, None]
            found.append((vectors * mask).sum(1) / mask.sum(1))
    taken = clock.read()
    return {**taken, "vectors": torch.cat(found).tolist()}


COMMANDS = {
    "memory": memory,
    "sentences": sentences,
    "load": load,
    "train": train,
    "infer": infer,
    "pretrain": pretrain,
    "tokenize": tokenize,
}


def main():
    """Answers until stdin ends."""
    transformers.logging.set_verbosity_error()
    for line in sys.stdin:
        request = json.loads(line)
        answer = COMMANDS[request.pop("do")](**request)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

"""fastai's own AWD-LSTM on torch, driven line by line by benchmarks/ulmfit.py.

Runs in an environment of its own that has fastai and safetensors. Reads a JSON object
per line (`{"do": NAME, ...}`) and answers with one.
"""

import json
import sys
import time

import fastai
import numpy as np
import torch
from fastai.text.models.awdlstm import (
    AWD_LSTM,
    awd_lstm_clas_config,
    awd_lstm_lm_config,
)
from fastai.text.models.core import get_language_model, get_text_classifier
from safetensors.torch import load_file
from torch.nn import functional

STATE = {}


def config_of(base, network):
    """fastai's configuration with the sizes and rates of ours."""
    rates = ("input_p", "output_p", "weight_p", "embed_p", "hidden_p")
    sizes = {"emb_sz": network["embedding_size"], "n_hid": network["hidden_size"]}
    sizes["n_layers"] = network["num_layers"]
    return {**base, **sizes, **{name: network[name] for name in rates}}


def threads(count):
    """Sets the threads; returns versions."""
    torch.set_num_threads(count)
    return {"fastai": fastai.__version__, "torch": torch.__version__}


def language_model(weights, network):
    """Loads a language model."""
    config = config_of(awd_lstm_lm_config, network)
    model = get_language_model(AWD_LSTM, network["vocab_size"], config)
    model.load_state_dict(load_file(f"{weights}/model.safetensors"))
    STATE["model"] = model
    STATE["optimizer"] = torch.optim.Adam(
        model.parameters(), lr=4e-3, betas=(0.8, 0.99), fused=True
    )
    return {}


def logits(ids):
    """Evaluates."""
    model = STATE["model"].eval()
    model.reset()
    with torch.no_grad():
        out = model(torch.from_numpy(np.load(ids)))
    return {"logits": out[0][:, -1].tolist()}


def train(ids, labels):
    """Makes one training step: CE, AR, TAR, clipping, Adam."""
    model, optimizer = STATE["model"].train(), STATE["optimizer"]
    x, y = (torch.from_numpy(np.load(path)) for path in (ids, labels))
    start, cpu = time.perf_counter(), time.process_time()
    out, raw, dropped = model(x)
    loss = functional.cross_entropy(out.flatten(0, 1), y.flatten())
    total = loss + 2.0 * dropped.pow(2).mean()
    total = total + (raw[:, 1:] - raw[:, :-1]).pow(2).mean()
    total.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.3)
    optimizer.step()
    optimizer.zero_grad()
    value = loss.item()
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
        "loss": value,
    }


def classifier(weights, network, head):
    """Loads a classifier."""
    config = config_of(awd_lstm_clas_config, network)
    # Here fastai's is the rate before the head's first layer.
    config["output_p"] = head["dropouts"][0]
    model = get_text_classifier(
        AWD_LSTM,
        network["vocab_size"],
        head["num_classes"],
        seq_len=head["bptt"],
        config=config,
        lin_ftrs=head["hidden"],
        ps=head["dropouts"][1:],
        max_len=head["max_len"],
    )
    model.load_state_dict(load_file(f"{weights}/model.safetensors"))
    STATE["classifier"] = model.eval()
    STATE.pop("model", None)
    STATE.pop("optimizer", None)
    return {}


def classify(ids):
    """Classifies a batch."""
    model = STATE["classifier"]
    x = torch.from_numpy(np.load(ids))
    start, cpu = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        model.reset()
        out = model(x)[0]
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
        "logits": out.tolist(),
    }


def main():
    """Answers requests until there are no more."""
    actions = {
        "threads": threads,
        "language_model": language_model,
        "logits": logits,
        "train": train,
        "classifier": classifier,
        "classify": classify,
    }
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(actions[request.pop("do")](**request)), flush=True)


if __name__ == "__main__":
    main()

"""BigGAN in torch, driven line by line by benchmarks/biggan.py.

Runs in an environment of its own that has torch, NumPy and pytorch-pretrained-biggan.
Reads a JSON object per line (`{"do": NAME, ...}`) and answers with one. The generator
for inference is the package's own. Training is one iteration as BigGAN-PyTorch makes
it: the networks of its CIFAR script, hinge losses, Adam.
"""

import json
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

STATE = {}


def load(folder, threads):
    """Loads the package's generator with the weights of a folder."""
    import pytorch_pretrained_biggan as package

    torch.set_num_threads(threads)
    config = package.BigGANConfig.from_json_file(f"{folder}/config.json")
    model = package.BigGAN(config)
    weights = torch.load(f"{folder}/pytorch_model.bin", weights_only=True)
    model.load_state_dict(weights, strict=True)
    STATE["generator"] = model.eval()
    return {"torch": torch.__version__, "pytorch-pretrained-biggan": "0.1.1"}


def generate(z, classes, truncation, passes, keep=False):
    """Makes pictures; NHWC where they are kept."""
    model = STATE["generator"]
    z, hot = torch.tensor(z), torch.zeros(len(classes), model.config.num_classes)
    hot[range(len(classes)), classes] = 1.0
    wall, cpu = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        for _ in range(passes):
            images = model(z, hot, truncation)
    result = {
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
    }
    if keep:
        result["images"] = images.permute(0, 2, 3, 1).tolist()
    return result


class Normalised(nn.Module):
    """A weight over its largest singular value, by one power iteration."""

    def __init__(self, weight, bias):
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.register_buffer("u", torch.zeros(1, len(weight)))

    def used(self):
        """Returns the normalised weight; the vector moves."""
        matrix = self.weight.reshape(len(self.weight), -1)
        with torch.no_grad():
            v = functional.normalize(self.u @ matrix, eps=1e-8)
            u = functional.normalize(v @ matrix.t(), eps=1e-8)
            self.u[:] = u
        return self.weight / torch.squeeze(v @ matrix.t() @ u.t())


class Conv(Normalised):
    """A convolution."""

    def forward(self, x):
        """Runs it."""
        padding = self.weight.shape[-1] // 2
        return functional.conv2d(x, self.used(), self.bias, padding=padding)


class Linear(Normalised):
    """A fully connected layer."""

    def forward(self, x):
        """Runs it."""
        return functional.linear(x, self.used(), self.bias)


class Table(Normalised):
    """A vector per class."""

    def forward(self, y):
        """Runs it."""
        return functional.embedding(y, self.used())


class Norm(nn.Module):
    """Conditional batch normalisation with tables."""

    def __init__(self, gain, bias):
        super().__init__()
        self.gain, self.bias = nn.Parameter(gain), nn.Parameter(bias)
        self.register_buffer("mean", torch.zeros(gain.shape[1]))
        self.register_buffer("var", torch.ones(gain.shape[1]))

    def forward(self, x, y):
        """Runs it in training mode."""
        x = functional.batch_norm(x, self.mean, self.var, None, None, True, 0.1, 1e-5)
        gain, bias = 1 + self.gain[y], self.bias[y]
        return x * gain[:, :, None, None] + bias[:, :, None, None]


class Generator(nn.Module):
    """Three blocks from 4 to 32 pixels."""

    def __init__(self, arrays):
        super().__init__()
        self.linear = _layer(Linear, arrays, "linear")
        self.parts = nn.ModuleList()
        for i in range(3):
            at = f"blocks.{i}.0"
            part = nn.ModuleDict(
                {n: _layer(Conv, arrays, f"{at}.{n}") for n in CONVOLUTIONS}
            )
            for n in ("bn1", "bn2"):
                part[n] = Norm(
                    arrays[f"{at}.{n}.gain.weight"], arrays[f"{at}.{n}.bias.weight"]
                )
            self.parts.append(part)
        self.last = nn.BatchNorm2d(arrays["output_layer.0.gain"].shape[0])
        self.rgb = _layer(Conv, arrays, "output_layer.2")

    def forward(self, z, y):
        """Makes pictures."""
        h = self.linear(z).view(len(z), -1, 4, 4)
        for part in self.parts:
            x = functional.interpolate(torch.relu(part["bn1"](h, y)), scale_factor=2)
            x = torch.relu(part["bn2"](part["conv1"](x), y))
            skip = part["conv_sc"](functional.interpolate(h, scale_factor=2))
            h = part["conv2"](x) + skip
        return torch.tanh(self.rgb(torch.relu(self.last(h))))


class Discriminator(nn.Module):
    """Four blocks, the first two of which halve the size."""

    def __init__(self, arrays):
        super().__init__()
        self.parts = nn.ModuleList()
        for i in range(4):
            names = [n for n in CONVOLUTIONS if f"blocks.{i}.0.{n}.weight" in arrays]
            self.parts.append(
                nn.ModuleDict(
                    {n: _layer(Conv, arrays, f"blocks.{i}.0.{n}") for n in names}
                )
            )
        self.linear = _layer(Linear, arrays, "linear")
        self.embed = _layer(Table, arrays, "embed")

    def forward(self, x, y):
        """Judges pictures."""
        for i, part in enumerate(self.parts):
            h = torch.relu(x) if i else x
            h = part["conv2"](torch.relu(part["conv1"](h)))
            if i == 0:
                x = part["conv_sc"](functional.avg_pool2d(x, 2))
                x = x + functional.avg_pool2d(h, 2)
                continue
            if "conv_sc" in part:
                x = part["conv_sc"](x)
            x = functional.avg_pool2d(x + h, 2) if i == 1 else x + h
        h = torch.relu(x).sum([2, 3])
        return self.linear(h) + (self.embed(y) * h).sum(1, keepdim=True)


CONVOLUTIONS = ("conv1", "conv2", "conv_sc")


def _layer(kind, arrays, name):
    layer = kind(arrays[f"{name}.weight"], arrays.get(f"{name}.bias"))
    layer.u.copy_(arrays[f"{name}.u0"])
    return layer


def networks(path):
    """Keeps the networks' weights, and the batches, for `train`."""
    arrays = {name: torch.from_numpy(x) for name, x in np.load(path).items()}
    STATE["arrays"] = arrays
    return {}


def _start():
    parts = {}
    for which, kind in (("G", Generator), ("D", Discriminator)):
        prefix = f"{which}/"
        own = {
            name.removeprefix(prefix): x.clone()
            for name, x in STATE["arrays"].items()
            if name.startswith(prefix)
        }
        network = kind(own).train().to(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(network.parameters(), 2e-4, (0.0, 0.999))
        parts[which] = (network, optimizer)
    return parts


def train(steps):
    """Makes iterations from the same weights; returns the losses."""
    batch = STATE["arrays"]
    (g, g_optimizer), (d, d_optimizer) = _start().values()
    image = batch["image"].to(memory_format=torch.channels_last)
    losses = []
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        d_optimizer.zero_grad()
        with torch.no_grad():
            fake = g(batch["z"], batch["fake_label"])
        both = torch.cat([fake, image])
        labels = torch.cat([batch["fake_label"], batch["label"]])
        of_fake, of_real = d(both, labels).split([len(fake), len(image)])
        real = torch.relu(1 - of_real).mean()
        generated = torch.relu(1 + of_fake).mean()
        (real + generated).backward()
        d_optimizer.step()
        for parameter in d.parameters():
            parameter.requires_grad_(False)
        g_optimizer.zero_grad()
        loss = -d(
            g(batch["generator_z"], batch["generator_label"]), batch["generator_label"]
        ).mean()
        loss.backward()
        g_optimizer.step()
        for parameter in d.parameters():
            parameter.requires_grad_(True)
        losses.append([real.item() + generated.item(), loss.item()])
    return {
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "losses": losses,
    }


def main():
    """Answers until the input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        function = globals()[request.pop("do")]
        print(json.dumps(function(**request)), flush=True)


if __name__ == "__main__":
    main()

"""StyleGAN in plain torch, driven line by line by benchmarks/stylegan.py.

Runs in an environment of its own that has torch and NumPy. Reads a JSON object per
line (`{"do": NAME, ...}`) and answers with one. Written from the paper's definition,
with the usual operations: upsampling and convolution joined from 128 pixels on, as the
original has it, native instance normalisation, channels_last where it is faster.
"""

import json
import math
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

STATE = {}
FUSED_FROM = 128
SQRT2 = math.sqrt(2)


class Weights(nn.Module):
    """Parameters by the original's names, scaled when they are used."""

    def __init__(self, arrays):
        super().__init__()
        self.names = {}
        for i, (name, array) in enumerate(arrays.items()):
            parameter = nn.Parameter(torch.from_numpy(np.ascontiguousarray(array)))
            self.register_parameter(f"p{i}", parameter)
            self.names[name] = parameter

    def dense(self, name, x, gain=SQRT2, lrmul=1.0):
        """x @ weight + bias."""
        weight = self.names[f"{name}/weight"]
        factor = gain / math.sqrt(weight.shape[0]) * lrmul
        return F.linear(x, (weight * factor).t(), self.names[f"{name}/bias"] * lrmul)

    def kernel(self, name, gain=SQRT2):
        """A kernel [out, in, k, k]."""
        weight = self.names[f"{name}/weight"]
        factor = gain / math.sqrt(weight[..., 0].numel())
        return (weight * factor).permute(3, 2, 0, 1)


def blur(x):
    """[1, 2, 1] x [1, 2, 1] / 16 on every channel."""
    line = torch.tensor([1.0, 2.0, 1.0])
    kernel = (line[:, None] * line / 16).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(x, kernel, padding=1, groups=x.shape[1])


def fused(kernel):
    """The 4x4 kernel of a 3x3 one and a 2x2 sum."""
    padded = F.pad(kernel, [1, 1, 1, 1])
    return (
        padded[..., 1:, 1:]
        + padded[..., :-1, 1:]
        + padded[..., 1:, :-1]
        + padded[..., :-1, :-1]
    )


class Generator(Weights):
    """Mapping and synthesis with random noise."""

    def mapping(self, z):
        """Z to w."""
        x = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
        for i in range(8):
            x = F.leaky_relu(self.dense(f"G_mapping/Dense{i}", x, lrmul=0.01), 0.2)
        return x

    def epilogue(self, name, x, w, noise):
        """Noise, bias, activation, instance norm, style."""
        if noise is None:
            noise = torch.randn(x.shape[0], 1, *x.shape[2:])
        x = x + noise * self.names[f"{name}/Noise/weight"][None, :, None, None]
        x = x + self.names[f"{name}/bias"][None, :, None, None]
        x = F.instance_norm(F.leaky_relu(x, 0.2), eps=1e-8)
        scale, shift = self.dense(f"{name}/StyleMod", w, 1.0).chunk(2, 1)
        return x * (scale + 1)[:, :, None, None] + shift[:, :, None, None]

    def up(self, name, x):
        """Nearest upsampling and convolution, then blur."""
        kernel = self.kernel(name)
        if 2 * x.shape[2] >= FUSED_FROM:
            # A transposed convolution mirrors its kernel: here it means what it says.
            joined = fused(kernel.transpose(0, 1))
            return blur(F.conv_transpose2d(x, joined, stride=2, padding=1))
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        return blur(F.conv2d(x, kernel, padding=1))

    def forward(self, w, noise=None, layers=0):
        """W [B, D] to pictures of 4 * 2^(layers / 2 - 1)."""
        noise = noise or [None] * layers
        prefix = "G_synthesis"
        x = self.names[f"{prefix}/4x4/Const/const"].expand(w.shape[0], -1, -1, -1)
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.epilogue(f"{prefix}/4x4/Const", x, w, noise[0])
        for layer in range(1, layers):
            size = 4 << (layer // 2)
            kind = "Conv" if layer == 1 else ("Conv0_up", "Conv1")[layer % 2]
            name = f"{prefix}/{size}x{size}/{kind}"
            if layer % 2:
                x = F.conv2d(x, self.kernel(name), padding=1)
            else:
                x = self.up(name, x)
            x = self.epilogue(name, x, w, noise[layer])
        name = f"{prefix}/ToRGB_lod0"
        return F.conv2d(x, self.kernel(name, 1.0), self.names[f"{name}/bias"])


class Discriminator(Weights):
    """Scores, at the full resolution."""

    def forward(self, x):
        """Pictures [B, 3, H, W] to scores [B, 1]."""
        x = self.conv("FromRGB_lod0", x, 0)
        while x.shape[2] > 4:
            name = f"{x.shape[2]}x{x.shape[2]}"
            x = blur(self.conv(f"{name}/Conv0", x, 1))
            x = self.down(f"{name}/Conv1_down", x)
        count = x.shape[0]
        y = x.reshape(min(4, count), -1, *x.shape[1:])
        y = (y.var(0, unbiased=False) + 1e-8).sqrt().mean([1, 2, 3], keepdim=True)
        y = y.repeat(min(4, count), 1, *x.shape[2:])
        x = self.conv("4x4/Conv", torch.cat([x, y], 1), 1)
        x = F.leaky_relu(self.dense("4x4/Dense0", x.flatten(1)), 0.2)
        return self.dense("4x4/Dense1", x, 1.0)

    def conv(self, name, x, padding):
        """Convolution, bias, activation."""
        kernel, bias = self.kernel(name), self.names[f"{name}/bias"]
        return F.leaky_relu(F.conv2d(x, kernel, bias, padding=padding), 0.2)

    def down(self, name, x):
        """Convolution and 2x2 mean, bias, activation."""
        kernel, bias = self.kernel(name), self.names[f"{name}/bias"]
        if x.shape[2] >= FUSED_FROM:
            x = F.conv2d(x, fused(kernel) / 4, bias, stride=2, padding=1)
        else:
            x = F.avg_pool2d(F.conv2d(x, kernel, bias, padding=1), 2)
        return F.leaky_relu(x, 0.2)


def load(path, threads, layers):
    """Loads the same weights and data."""
    torch.set_num_threads(threads)
    arrays = dict(np.load(path))
    for role, kind in (("G", Generator), ("D", Discriminator)):
        STATE[role] = kind(
            {
                name.removeprefix(f"{role}/"): array
                for name, array in arrays.items()
                if name.startswith(f"{role}/")
            }
        )
    STATE["layers"] = layers
    STATE["data"] = {
        name: torch.from_numpy(array)
        for name, array in arrays.items()
        if not name.startswith(("G/", "D/"))
    }
    return {"torch": torch.__version__}


def generate(count, passes, compare=False):
    """Z to pictures with random noise, or with none to compare."""
    g, layers = STATE["G"], STATE["layers"]
    z = STATE["data"]["z"][:count]
    noise = None
    if compare:
        sizes = [4 << (layer // 2) for layer in range(layers)]
        noise = [torch.zeros(1, 1, size, size) for size in sizes]
    clock, cpu = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        for _ in range(passes):
            images = g(g.mapping(z), noise, layers)
    taken = {
        "seconds": time.perf_counter() - clock,
        "cpu_seconds": time.process_time() - cpu,
    }
    if compare:
        taken["images"] = images.permute(0, 2, 3, 1).tolist()
    return taken


def train(count, steps, rate):
    """Alternating steps: logistic loss with R1, then the non-saturating one."""
    g, d, layers = STATE["G"], STATE["D"], STATE["layers"]
    before = [p.detach().clone() for net in (g, d) for p in net.parameters()]
    options = {"lr": rate, "betas": (0.0, 0.99), "eps": 1e-8}
    optimizers = [torch.optim.Adam(net.parameters(), **options) for net in (g, d)]
    data = STATE["data"]
    reals = data["reals"][:count].permute(0, 3, 1, 2).contiguous()
    noise = [data[f"noise{i}"][:count].permute(0, 3, 1, 2) for i in range(layers)]
    losses = []
    clock, cpu = time.perf_counter(), time.process_time()
    for step in range(steps):
        z = data["latents"][2 * step]
        with torch.no_grad():
            fakes = g(g.mapping(z[:count]), noise, layers)
        x = reals.clone().requires_grad_()
        scores = d(x)
        slope = torch.autograd.grad(scores.sum(), x, create_graph=True)[0]
        loss = F.softplus(d(fakes)) + F.softplus(-scores)
        loss = loss.mean() + 5 * slope.square().sum([1, 2, 3]).mean()
        optimizers[1].zero_grad()
        loss.backward()
        optimizers[1].step()
        losses.append(loss.item())
        z = data["latents"][2 * step + 1]
        d.requires_grad_(False)
        loss = F.softplus(-d(g(g.mapping(z[:count]), noise, layers))).mean()
        optimizers[0].zero_grad()
        loss.backward()
        optimizers[0].step()
        d.requires_grad_(True)
        losses.append(loss.item())
    taken = {
        "seconds": time.perf_counter() - clock,
        "cpu_seconds": time.process_time() - cpu,
    }
    with torch.no_grad():
        parameters = [p for net in (g, d) for p in net.parameters()]
        for parameter, value in zip(parameters, before, strict=True):
            parameter.copy_(value)
    return {**taken, "losses": losses}


def main():
    """Answers until the input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        function = globals()[request.pop("do")]
        print(json.dumps(function(**request)), flush=True)


if __name__ == "__main__":
    main()

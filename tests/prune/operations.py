"""Small networks, one for each operation that moves, repeats or mixes units: what the dependency graph must see.

Each is a function ``width -> (model, example)``. ``RIGHT`` must give units (the layers that are named, at least);
``MIXED`` must not give the units of layer ``a``.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from tests.cases.nets import images, net


def conv(inputs, outputs, size=1, **options):
    return nn.Conv2d(inputs, outputs, size, **options)


def maps(middle, after=1.0, before=()):
    """Picture, convolution a, an operation, convolution b of as many channels as it leaves, pooled, dense."""

    def build(width):
        seen = conv(int(width * after), 6)

        def forward(m, x):
            return m.c(m.b(middle(m, m.a(x))).relu().mean((2, 3)))

        extra = [layer(width) for layer in before]
        return net(forward, conv(3, width, 3, padding=1), seen, nn.Linear(6, 4), *extra), images(1, 3, 8, 8)

    return build


def rows(middle, after=1.0, before=()):
    """Tokens, dense layer a, an operation, dense layer b, mean, dense."""

    def build(width):
        def forward(m, x):
            return m.c(m.b(middle(m, m.a(x))).relu().mean(1))

        extra = [layer(width) for layer in before]
        layers = nn.Linear(6, width), nn.Linear(int(width * after), 6), nn.Linear(6, 4)
        return net(forward, *layers, *extra), images(1, 5, 6)

    return build


def shuffle(m, y, groups=2):
    n, c, h, w = y.shape
    return y.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


def halves(m, y):
    one, other = y.chunk(2, 1)
    return one * other.sigmoid()


def crossed(m, y):
    one, other = y.chunk(2, 1)
    return torch.cat([other.tanh(), one], 1)


def packed(m, y):
    q, k, v = m.d(y).chunk(3, -1)
    n, t, _ = q.shape
    q, k, v = (part.view(n, t, -1, 4).transpose(1, 2) for part in (q, k, v))
    return ((q @ k.mT / 2).softmax(-1) @ v).transpose(1, 2).reshape(n, t, -1)


def by_dims(m, y):
    n, t, _ = y.shape
    q, k, v = m.d(y).reshape(n, t, 3, 2, -1).permute(2, 0, 3, 1, 4)
    return ((q @ k.mT).softmax(-1) @ v).transpose(1, 2).reshape(n, t, -1)


def functional_attention(m, y):
    n, t, _ = y.shape
    q, k, v = (layer(y).view(n, t, -1, 4).transpose(1, 2) for layer in (m.d, m.e, m.f))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def grouped_queries(m, y):
    n, t, _ = y.shape
    q, k, v = (layer(y).view(n, t, -1, 4).transpose(1, 2) for layer in (m.d, m.e, m.f))
    k, v = (part.repeat_interleave(2, 1) for part in (k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def einsum_attention(m, y):
    n, t, _ = y.shape
    q, k, v = (layer(y).view(n, t, -1, 4) for layer in (m.d, m.e, m.f))
    weights = torch.einsum("bqhd,bkhd->bhqk", q, k).softmax(-1)
    return torch.einsum("bhqk,bkhd->bqhd", weights, v).flatten(2)


def dense(inputs=1.0, outputs=1.0):
    return lambda width: nn.Linear(int(width * inputs), int(width * outputs))


def written(m, y):
    z = torch.zeros_like(y)
    z[:, :, 1:] = y[:, :, 1:]
    return z


class Bare(nn.Module):
    def __init__(self, *shape, buffer=False):
        super().__init__()
        value = torch.randn(shape)
        self.register_buffer("w", value) if buffer else setattr(self, "w", nn.Parameter(value))


def tied(width):
    model = net(lambda m, i: m.c(m.b(m.a(i)).relu()).mean(1), nn.Embedding(9, width), nn.Linear(width, width),
                nn.Linear(width, 9))  # fmt: skip
    model.c.weight = model.a.weight
    return model, torch.arange(5)[None]


RIGHT = {
    "plain": maps(lambda m, y: y.relu()),
    "chunk, gated": maps(halves, 0.5),
    "chunk, crossed": maps(crossed),
    "split in halves": maps(lambda m, y: torch.cat([s.tanh() for s in y.split(y.shape[1] // 2, 1)], 1)),
    "slices": maps(lambda m, y: y[:, : y.shape[1] // 2] * y[:, y.shape[1] // 2 :], 0.5),
    "glu": maps(lambda m, y: F.glu(y, 1), 0.5),
    "every second": maps(lambda m, y: y[:, ::2] + y[:, 1::2], 0.5),
    "shuffle by hand": maps(shuffle),
    "ChannelShuffle": maps(lambda m, y: F.channel_shuffle(y, 2)),
    "pixel shuffle": maps(lambda m, y: F.pixel_shuffle(y, 2), 0.25),
    "pixel unshuffle": maps(lambda m, y: F.pixel_unshuffle(y, 2), 4),
    "flip": maps(lambda m, y: y.flip(1)),
    "roll of a sum": maps(lambda m, y: y.roll(y.shape[1] // 2, 1) + y),
    "repeat": maps(lambda m, y: y.repeat(1, 2, 1, 1), 2),
    "repeat_interleave": maps(lambda m, y: y.repeat_interleave(2, 1), 2),
    "expand and flatten": maps(lambda m, y: y[:, :, None].expand(-1, -1, 3, -1, -1).flatten(1, 2), 3),
    "cat with itself": maps(lambda m, y: torch.cat([y, y], 1), 2),
    "cat interleaved": maps(lambda m, y: torch.stack([y, y.tanh()], 2).flatten(1, 2), 2),
    "cat with what stays": maps(lambda m, y: m.d(torch.cat([y, torch.ones(1, 4, 8, 8)], 1)),
                                before=[lambda w: conv(w + 4, w)]),
    "transpose and unflatten": rows(lambda m, y: y.transpose(1, 2).unflatten(1, (-1, 2)).flatten(1, 2).transpose(1, 2)),
    "functional linear": rows(lambda m, y: F.linear(y, m.d.weight, m.d.bias), before=[dense()]),
    "einsum with a weight": rows(lambda m, y: torch.einsum("ntc,oc->nto", y, m.d.weight), before=[dense()]),
    "matmul with a bare matrix": rows(lambda m, y: y @ m.d.w, before=[lambda w: Bare(w, w)]),
    "packed attention": rows(packed, before=[dense(1, 3)]),
    "attention by dimensions": rows(by_dims, before=[dense(1, 3)]),
    "scaled dot product": rows(functional_attention, before=[dense()] * 3),
    "einsum attention": rows(einsum_attention, before=[dense()] * 3),
    "grouped queries": rows(grouped_queries, before=[dense(), dense(1, 0.5), dense(1, 0.5)]),
    "PReLU of one": maps(lambda m, y: m.d(y), before=[lambda w: nn.PReLU()]),
    "PReLU of each": maps(lambda m, y: m.d(y), before=[nn.PReLU]),
    "a mask of one channel": maps(lambda m, y: y * m.d(y).sigmoid(), before=[lambda w: conv(w, 1)]),
    "squeeze and excite": maps(lambda m, y: y * m.d(y.mean((2, 3), keepdim=True)).sigmoid(),
                               before=[lambda w: conv(w, w)]),
    "a scale of each": maps(lambda m, y: y * m.d.w, before=[lambda w: Bare(w, 1, 1)]),
    "a buffer": maps(lambda m, y: y - m.d.w, before=[lambda w: Bare(1, w, 1, 1, buffer=True)]),
    "a buffer on the last axis": rows(lambda m, y: y + m.d.w, before=[lambda w: Bare(5, w, buffer=True)]),
    "a class token": rows(lambda m, y: torch.cat([m.d.w.expand(len(y), -1, -1), y], 1),
                          before=[lambda w: Bare(1, 1, w)]),
    "batch norm": maps(lambda m, y: m.d(y), before=[nn.BatchNorm2d]),
    "instance norm": maps(lambda m, y: m.d(y), before=[lambda w: nn.InstanceNorm2d(w, affine=True)]),
    "instance norm, statistics": maps(lambda m, y: m.d(y),
                                      before=[lambda w: nn.InstanceNorm2d(w, track_running_stats=True)]),
    "group norm": maps(lambda m, y: m.d(y), before=[lambda w: nn.GroupNorm(4, w)]),
    "layer norm": rows(lambda m, y: m.d(y), before=[nn.LayerNorm]),
    "depthwise": maps(lambda m, y: m.d(y), before=[lambda w: conv(w, w, 3, groups=w)]),
    "grouped": maps(lambda m, y: m.d(y), before=[lambda w: conv(w, w, 3, groups=4)]),
    "transposed": maps(lambda m, y: m.d(y), before=[lambda w: nn.ConvTranspose2d(w, w, 3)]),
    "three times": maps(lambda m, y: m.d(m.d(y).relu()).relu() + y, before=[lambda w: conv(w, w, 3, padding=1)]),
    "in place": maps(lambda m, y: y.mul_(2).relu_()),
    "padding": maps(lambda m, y: F.pad(y, (1, 1, 2, 0))),
    "reflected": maps(lambda m, y: F.pad(y, (1, 1, 2, 0), mode="reflect")),
    "pools and sizes": maps(lambda m, y: F.interpolate(F.max_pool2d(y, 2), scale_factor=2) + F.avg_pool2d(y, 3, 1, 1)),
    "normalised": maps(lambda m, y: F.normalize(y, dim=1)),
    "unfold": maps(lambda m, y: F.unfold(y, 3, padding=1).view(1, -1, 8, 8), 9),
    "tied": tied,
    "weight standardised": maps(lambda m, y: F.conv2d(y, m.d.weight - m.d.weight.mean((2, 3), keepdim=True), m.d.bias),
                                before=[lambda w: conv(w, w, 3)]),
    "two heads": maps(lambda m, y: torch.cat([m.d(y), m.e(y)], 1), 2, before=[lambda w: conv(w, w)] * 2),
    "written in place": maps(written),
    "where": maps(lambda m, y: torch.where(y > 0, y, y * 0.1)),
    "index by list": maps(lambda m, y: y[:, torch.arange(y.shape[1] - 1, -1, -1)]),
    "gather of rows": rows(lambda m, y: y.index_select(1, torch.tensor([0, 2, 1]))),
    "outer sum": rows(lambda m, y: (y[:, :, None] + y[:, None]).mean(2)),
    "RMS by hand": rows(lambda m, y: y * torch.rsqrt(y.square().sum(-1, keepdim=True) + 1)),
    "weight norm": maps(lambda m, y: m.d(y), before=[lambda w: nn.utils.parametrizations.weight_norm(conv(w, w))]),
}  # fmt: skip

MIXED = {
    "softmax": maps(lambda m, y: y.softmax(1)),
    "local response norm": maps(lambda m, y: F.local_response_norm(y, 5, alpha=1.0)),
    "functional layer norm": rows(lambda m, y: F.layer_norm(y, y.shape[-1:])),
    "functional group norm": maps(lambda m, y: F.group_norm(y, 1)),
    "fft": maps(lambda m, y: torch.fft.fft(y, dim=1).real),
    "less the mean": maps(lambda m, y: y - y.mean(1, keepdim=True)),
    "cumsum": maps(lambda m, y: y.cumsum(1)),
    "amax": maps(lambda m, y: y * y.amax(1, keepdim=True).sigmoid()),
    "sizes as numbers": maps(lambda m, y: torch.cat([y[:, :3].tanh(), y[:, 3:]], 1)),
    "split into numbers": maps(lambda m, y: torch.cat([s.tanh() for s in y.split([2, y.shape[1] - 2], 1)], 1)[:, :8]
                               .repeat(1, y.shape[1] // 8, 1, 1)),
    "layer norm over maps": maps(lambda m, y: m.d(y), before=[lambda w: nn.LayerNorm([w, 8, 8])]),
    "shuffle of a sum": maps(lambda m, y: shuffle(m, y) + y),
    "sort": maps(lambda m, y: y.sort(1)[0]),
    "added to the input": maps(lambda m, y: y + torch.ones_like(y) * y.new_ones(1, y.shape[1], 1, 1)),
}  # fmt: skip

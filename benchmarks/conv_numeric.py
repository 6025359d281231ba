"""Time of functional convolutions and matmuls against torch and BLAS: `python benchmarks/conv_numeric.py`.

One thread each, operands in cache, medians of calls made in turn: ours on half storage (or what --dtype says) with the
reduction in pieces, torch in float32 (the faster of its two layouts), numpy's BLAS for the product alone, its im2col
matrix made beforehand.  Without torch its columns stay empty.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from ipusim_kernels.conv import numeric

try:
    import torch
except ModuleNotFoundError:
    torch = None

Call = Callable[[], object]


@dataclass(frozen=True)
class ConvLayer:
    """A square convolution with "same" padding that occurs `count` times."""

    channels: int
    out_channels: int
    kernel: int
    stride: int
    size: int
    count: int = 1
    groups: int = 1

    @property
    def out(self) -> int:
        return -(-self.size // self.stride)

    @property
    def taps(self) -> int:
        return self.channels // self.groups * self.kernel**2

    @property
    def flops(self) -> int:
        return 2 * self.out_channels * self.out**2 * self.taps

    @property
    def name(self) -> str:
        groups = f" g{self.groups}" if self.groups > 1 else ""
        return f"{self.kernel}x{self.kernel}/{self.stride} {self.channels}-{self.out_channels} @{self.size}{groups}"


@dataclass(frozen=True)
class Product:
    """[batch, m, k] x [batch, k, n]; with `turned` the second operand is stored as [batch, n, k]."""

    batch: int
    m: int
    k: int
    n: int
    turned: bool = False
    count: int = 1

    @property
    def flops(self) -> int:
        return 2 * self.batch * self.m * self.k * self.n

    @property
    def name(self) -> str:
        return f"{self.batch} x {self.m}x{self.k}x{self.n}{' turned' if self.turned else ''}"


def resnet50() -> Iterator[ConvLayer]:
    """The 53 convolutions at batch 1."""
    yield ConvLayer(3, 64, 7, 2, 224)
    for channels, middle, size, blocks, stride in (
        (64, 64, 56, 3, 1),
        (256, 128, 56, 4, 2),
        (512, 256, 28, 6, 2),
        (1024, 512, 14, 3, 2),
    ):
        out, small = 4 * middle, size // stride
        yield ConvLayer(channels, middle, 1, 1, size)
        yield ConvLayer(middle, middle, 3, stride, size)
        yield ConvLayer(channels, out, 1, stride, size)
        yield ConvLayer(middle, out, 1, 1, small, blocks)
        yield ConvLayer(out, middle, 1, 1, small, blocks - 1)
        yield ConvLayer(middle, middle, 3, 1, small, blocks - 1)


FC = [Product(1, 1, 2048, 1000, turned=True)]
BERT = [
    Product(1, 128, 768, 768, count=48),
    Product(1, 128, 768, 3072, count=12),
    Product(1, 128, 3072, 768, count=12),
    Product(12, 128, 64, 128, turned=True, count=12),
    Product(12, 128, 128, 64, count=12),
]
GROUPED = [
    ConvLayer(128, 128, 3, 1, 56, groups=32),
    ConvLayer(1024, 1024, 3, 1, 14, groups=32),
    ConvLayer(32, 32, 3, 1, 112, groups=32),
    ConvLayer(96, 96, 3, 2, 112, groups=96),
    ConvLayer(256, 256, 3, 1, 28, groups=256),
    ConvLayer(960, 960, 3, 1, 7, groups=960),
]


def ranges(size: int, parts: int) -> list[tuple[int, int]]:
    """`size` in `parts` nearly equal ranges."""
    return list(itertools.pairwise(size * i // parts for i in range(parts + 1)))


def conv_calls(layer: ConvLayer, options: argparse.Namespace) -> tuple[Call, Call, list[Call]]:
    """Calls of ours, of BLAS and of torch."""
    rng = np.random.default_rng(0)
    channels, pad = layer.channels // layer.groups, layer.kernel // 2
    x = rng.standard_normal((1, layer.channels, layer.size, layer.size), np.float32)
    w = rng.standard_normal((layer.out_channels, channels, layer.kernel, layer.kernel), np.float32)
    parts = options.parts or (1 if channels < 32 else {56: 4, 28: 8}.get(layer.out, 16))
    pieces = tuple((c0, c1, 0, layer.kernel) for c0, c1 in ranges(channels, min(parts, max(1, channels // 16))))
    half_x, half_w = x.astype(options.dtype), w.astype(options.dtype)
    out = np.empty((1, layer.out_channels, layer.out, layer.out), options.dtype)
    steps = {"stride": (layer.stride,) * 2, "dilation": (1, 1), "padding": ((pad, pad),) * 2, "groups": layer.groups}
    how = {"pieces": pieces, "partials": options.partials, "threads": options.threads}
    rows = w.reshape(layer.groups, -1, layer.taps)
    columns = rng.standard_normal((layer.groups, layer.taps, layer.out**2), np.float32)
    product = np.empty((layer.groups, rows.shape[1], layer.out**2), np.float32)
    calls = []
    if torch is not None:
        for order in (torch.contiguous_format, torch.channels_last):
            t, u = (torch.from_numpy(a).contiguous(memory_format=order) for a in (x, w))
            calls.append(lambda t=t, u=u: torch.conv2d(t, u, None, layer.stride, pad, 1, layer.groups))
    return (
        lambda: numeric.conv(half_x, half_w, out, **steps, **how),
        lambda: np.matmul(rows, columns, out=product),
        calls,
    )


def product_calls(product: Product, options: argparse.Namespace) -> tuple[Call, Call, list[Call]]:
    """Calls of ours, of BLAS and of torch."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((product.batch, product.m, product.k), np.float32)
    b = rng.standard_normal((product.batch, product.k, product.n), np.float32)
    if product.turned:
        b = np.ascontiguousarray(b.transpose(0, 2, 1)).transpose(0, 2, 1)
    half_a, half_b = a.astype(options.dtype), b.astype(options.dtype, order="K")
    out, single = (np.empty((product.batch, product.m, product.n), d) for d in (options.dtype, np.float32))
    pieces = ranges(product.k, min(options.parts or 8, max(1, product.k // 64)))
    how = {"pieces": pieces, "partials": options.partials, "threads": options.threads}
    calls = []
    if torch is not None:
        t, u = torch.from_numpy(a), torch.from_numpy(b)
        calls.append(lambda: torch.matmul(t, u))
    return lambda: numeric.matmul(half_a, half_b, out, **how), lambda: np.matmul(a, b, out=single), calls


def medians(calls: list[Call], repeats: int) -> list[float]:
    """Milliseconds of each call; the calls take turns."""
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(repeats + 1):
        for call, found in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            if turn:
                found.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(found) for found in times]


def report(title: str, layers: list[ConvLayer] | list[Product], options: argparse.Namespace) -> None:
    """Prints one row per layer and the sum over all their occurrences."""
    print(f"\n{title:32} count     ours GFLOP/s     BLAS    torch  ours/torch")
    ours = blas = peer = 0.0
    for layer in layers:
        made = conv_calls(layer, options) if isinstance(layer, ConvLayer) else product_calls(layer, options)
        mine, product, *others = medians([made[0], made[1], *made[2]], options.repeats)
        best = min(others, default=float("nan"))
        rate = layer.flops / mine * 1e-6
        print(f"{layer.name:32} {layer.count:5} {mine:8.3f} {rate:7.0f} {product:8.3f} {best:8.3f} {mine / best:10.2f}")
        ours, blas, peer = ours + layer.count * mine, blas + layer.count * product, peer + layer.count * best
    rate = sum(layer.count * layer.flops for layer in layers) / ours * 1e-6
    print(f"{'sum, ms':32} {'':5} {ours:8.2f} {rate:7.0f} {blas:8.2f} {peer:8.2f} {ours / peer:10.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16")
    parser.add_argument("--partials", choices=("float32", "float16"), default="float32")
    parser.add_argument("--parts", type=int, default=0, help="pieces of each reduction (0: about what a plan chooses)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=11)
    options = parser.parse_args()
    if torch is None:
        print("torch is not installed: its columns stay empty")
    else:
        torch.set_num_threads(1)
        torch.set_grad_enabled(False)
    report("ResNet-50, batch 1", list(resnet50()), options)
    report("its classifier", FC, options)
    report("BERT base, 128 tokens", BERT, options)
    report("grouped and depthwise", GROUPED, options)


if __name__ == "__main__":
    main()

"""Attention forward and back on a CPU: matrix products against torch's fused kernel, by dtype and length.

    python benchmarks/attention.py [--threads 1] [--rounds 5]

Seconds of the processor of one thread, medians of rounds in turn. `queries` × `keys` are those of a UNet's
self-attention and of its attention to a text; gradients are wanted of all three inputs, as in learning.
`plain / fused` under 1 means that plain products are faster; the rule in `runtime/device.py` is made of it.
"""

import argparse
import json
import statistics
import time
from itertools import product

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

HEADS, TEXT = 4, 77
LENGTHS = ((16, 16), (64, 64), (256, 256), (1024, 1024), (64, TEXT), (256, TEXT), (1024, TEXT))
WIDTHS = (40, 64)
TOKENS = 8192  # of queries in all, so that each case takes about as long


def once(kernel: SDPBackend, inputs: list[torch.Tensor], back: bool) -> float:
    """Seconds of the processor of attention, and of the way back."""
    began = time.process_time()
    with sdpa_kernel(kernel):
        query, key, value = inputs
        output = scaled_dot_product_attention(query, key, value)
        if back:
            output.sum().backward()
    return time.process_time() - began


def main() -> None:
    """Runs the benchmark and prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    kernels = {"plain": SDPBackend.MATH, "fused": SDPBackend.FLASH_ATTENTION}
    found = []
    for dtype, width, (queries, keys) in product((torch.float32, torch.bfloat16), WIDTHS, LENGTHS):
        batch = max(1, TOKENS // queries // HEADS)
        shapes = [(batch, HEADS, length, width) for length in (queries, keys, keys)]
        inputs = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]
        row = {"dtype": str(dtype).removeprefix("torch."), "queries": queries, "keys": keys, "width": width}
        for name, back in (("forward", False), ("forward and back", True)):
            seconds: dict[str, list[float]] = {kernel: [] for kernel in kernels}
            for number in range(asked.rounds + 1):  # the first warms up
                for kernel, backend in kernels.items():
                    took = once(backend, inputs, back)
                    if number:
                        seconds[kernel].append(took)
            plain, fused = (statistics.median(seconds[kernel]) for kernel in kernels)
            row[f"{name}: ms fused"] = round(1000 * fused, 2)
            row[f"{name}: plain / fused"] = round(plain / fused, 2)
        found.append(row)
    print("\n".join(map(json.dumps, found)))


if __name__ == "__main__":
    main()

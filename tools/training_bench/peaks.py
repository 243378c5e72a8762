"""What the machine can do at best: the convolutions and matrix products of a training step."""

import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from training_bench.worker import timed

SECONDS = 0.2
CHANNELS, SIDE = 64, 42
IMAGES = {"cpu": 25, "cuda": 400}
ORDER = {"cpu": 1024, "cuda": 8192}


def measured(device: str, threads: int) -> dict[str, float]:
    """GFLOP/s by name; convolutions of 64 to 64 channels in the quicker memory layout."""
    maps = torch.randn(IMAGES[device], CHANNELS, SIDE, SIDE, device=device)
    kernel = torch.randn(CHANNELS, CHANNELS, 3, 3, device=device)
    matrix = torch.randn(ORDER[device], ORDER[device], device=device)
    of_convolution, of_product = 2 * maps.numel() * CHANNELS * 9, 2 * ORDER[device] ** 3
    found, threads_before = {}, torch.get_num_threads()
    torch.set_num_threads(threads)
    for name, dtype, is_tf32 in _precisions(device):
        torch.backends.cuda.matmul.allow_tf32 = is_tf32
        typed, weight = maps.to(dtype), kernel.to(dtype)
        with torch.no_grad(), torch.backends.cudnn.flags(benchmark=True, allow_tf32=is_tf32):
            found[f"{name} 3x3 convolution"] = max(
                _rate(partial(F.conv2d, images, weight, padding=1), of_convolution, device)
                for images in (typed, typed.to(memory_format=torch.channels_last))
            )
            operand = matrix.to(dtype)
            product = partial(torch.matmul, operand, operand)
            found[f"{name} matrix product"] = _rate(product, of_product, device)
    torch.set_num_threads(threads_before)
    return found


def _precisions(device: str) -> list[tuple[str, torch.dtype, bool]]:
    """Names, types, and whether TF32 is used, which in the end it is not."""
    tf32 = [("tf32", torch.float32, True)] if device == "cuda" else []
    return [*tf32, ("fp32", torch.float32, False), ("bf16", torch.bfloat16, False)]


def _rate(work: Callable[[], Tensor], operations: int, device: str) -> float:
    """GFLOP/s of the quickest call in about SECONDS."""
    quickest, end = timed(work, device), time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        quickest = min(quickest, timed(work, device))
    return operations / quickest / 1e9

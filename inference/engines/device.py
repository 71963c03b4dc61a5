"""Between the host and a device: numbers up without a wait, a wait where time is taken, memory handed back."""

from typing import Any

import torch


def is_cuda(device: str | torch.device) -> bool:
    return torch.device(device).type == "cuda"


def upload(values: Any, *, device: str | torch.device, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Numbers, or lists of them, as a tensor on `device`.

    A copy out of ordinary memory waits until a CUDA device has done all it was told before; one out of
    pinned memory takes its turn there, and torch keeps the source until it has been read.
    """
    host = torch.tensor(values, dtype=dtype)
    if not is_cuda(device):
        return host
    return host.pin_memory().to(device, non_blocking=True)


def wait(device: str | torch.device) -> None:
    """Until `device` has done all it was told: CUDA computes, and fails, after the call that asked for it."""
    if is_cuda(device):
        torch.cuda.synchronize(device)


def hand_back_memory(device: str | torch.device) -> None:
    """Freed memory stays with torch, in blocks of the old sizes; let others have it."""
    if is_cuda(device):
        torch.cuda.empty_cache()

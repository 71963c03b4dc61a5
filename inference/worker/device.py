"""The device that a worker serves from, and how much of its memory replicas may use."""

import psutil
import torch

# The rest is for activations, the allocator's slack and, on the host, everybody else.
DEVICE_SHARE = 0.9
HOST_SHARE = 0.6


def choose(name: str) -> str:
    """`name`, or for "auto" the first CUDA device, else the CPU. Raises `ValueError` for one we have not."""
    if name == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type not in {"cpu", "cuda"}:
        raise ValueError(f"the device must be auto, cpu or cuda:N, not {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"this machine has {torch.cuda.device_count()} CUDA devices; {name!r} is not one of them"
        )
    return name


def memory_bytes(device: str, *, limit: int) -> int:
    """Bytes for replicas: `limit` where it is not 0, else a share of what the device has free now."""
    if limit:
        return limit
    if device == "cpu":
        return int(psutil.virtual_memory().available * HOST_SHARE)
    free, _ = torch.cuda.mem_get_info(torch.device(device))
    return int(free * DEVICE_SHARE)

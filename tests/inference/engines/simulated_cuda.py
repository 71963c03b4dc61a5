"""A CUDA device for machines without one: it computes on the CPU, and minds which tensor lives where.

torch's own FakeTensorMode would do, but on a build without CUDA its "cuda" tensors cannot even be indexed,
and without numbers in them nothing that looks at a result can go on. These have numbers. An operation that
mixes device and host fails as on CUDA, and whatever would make the host wait for the device is counted.
What kernels exist, and in what order they really run, only a GPU can tell.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

Waits = Counter[str]
NAME = "cuda:0"
# They return what depends on numbers on the device, so CUDA has to wait for those.
READING = {"_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2"}
INDEXING = {"index", "index_put_", "index_put"}
COPYING = {"copy_", "_to_copy", "to"}


class DeviceTensor(torch.Tensor):
    """A tensor on the simulated device; `inner`, on the CPU, has its numbers."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> "DeviceTensor":
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(),
            dtype=inner.dtype, device="meta",
        )  # fmt: skip
        made.inner = inner
        return made

    device = property(lambda _: torch.device(NAME))
    is_cuda = property(lambda _: True)
    is_cpu = property(lambda _: False)
    is_meta = property(lambda _: False)

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError("can't convert a cuda:0 device type tensor to numpy")

    def __repr__(self, **_: Any) -> str:
        return f"DeviceTensor({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {}, waits=Counter())


class SimulatedCuda(TorchDispatchMode):
    """While active, "cuda:0" exists on this thread. `waits` says how often the host waited, by reason."""

    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self.waits = waits

    def __enter__(self) -> "SimulatedCuda":
        # Per thread: without it torch.tensor() copies to the device before anyone can see it.
        torch._C._set_only_lift_cpu_tensors(True)
        entered: SimulatedCuda = super().__enter__()
        return entered

    def __exit__(self, *reason: Any) -> None:
        super().__exit__(*reason)
        torch._C._set_only_lift_cpu_tensors(False)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {}, waits=self.waits)


def dispatch(func: Any, args: Any, kwargs: Any, *, waits: Waits) -> Any:
    name = func._schema.name.removeprefix("aten::")
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    is_device = any(isinstance(tensor, DeviceTensor) for tensor in tensors)
    if name in ("pin_memory", "_pin_memory"):
        pinned = args[0].clone()
        pinned.is_pinned_here = True
        return pinned
    if not is_device and not _names_cuda(args, kwargs):
        return func(*args, **kwargs)
    if name in COPYING:
        goes_to_device = _copies_to_device(name, args, kwargs, is_device=is_device)
        _count_copy(func, args, kwargs, goes_to_device=goes_to_device, waits=waits)
    else:
        goes_to_device = True
        _check_same_device(name, tensors)
        _count_reading(name, args, waits)
    result = func(*_on_cpu(args), **_on_cpu(kwargs))
    if func._schema.is_mutable and args and result is not None and not name.startswith("_"):
        changed = next((a for a, s in zip(args, func._schema.arguments, strict=False) if s.is_out), args[0])
        return kwargs.get("out", changed)
    if not goes_to_device:
        return result
    # A view of a weight counts its versions, which a tensor made in inference mode cannot.
    with torch.inference_mode(all(tensor.is_inference() for tensor in tensors)):
        return tree_map_only(torch.Tensor, DeviceTensor, result)


def _names_cuda(args: Any, kwargs: Any) -> bool:
    return any(isinstance(leaf, torch.device) and leaf.type == "cuda" for leaf in tree_leaves((args, kwargs)))


def _on_cpu(values: Any) -> Any:
    values = tree_map_only(DeviceTensor, lambda tensor: tensor.inner, values)
    return tree_map_only(torch.device, lambda _: torch.device("cpu"), values)


def _check_same_device(name: str, tensors: list[torch.Tensor]) -> None:
    """CUDA takes a single number from the host. It would take an index, too, but has to wait for it."""
    if any(not isinstance(tensor, DeviceTensor) and tensor.dim() > 0 for tensor in tensors):
        raise RuntimeError(f"{name}: Expected all tensors to be on the same device, cpu and {NAME}")


def _count_reading(name: str, args: Any, waits: Waits) -> None:
    if name in READING or (
        name in INDEXING and any(index is not None and index.dtype == torch.bool for index in args[1])
    ):
        waits[f"read by {name}"] += 1


def _copies_to_device(name: str, args: Any, kwargs: Any, *, is_device: bool) -> bool:
    if name == "copy_":
        return isinstance(args[0], DeviceTensor)
    named = next((leaf for leaf in tree_leaves((args[1:], kwargs)) if isinstance(leaf, torch.device)), None)
    return is_device if named is None else named.type != "cpu"


def _count_copy(func: Any, args: Any, kwargs: Any, *, goes_to_device: bool, waits: Waits) -> None:
    given = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | kwargs
    source = given["src"] if "src" in given else given["self"]
    came_from_device = isinstance(source, DeviceTensor)
    if came_from_device and not goes_to_device:
        waits["read"] += 1
    elif goes_to_device and not came_from_device and source.dim() > 0:
        is_queued = getattr(source, "is_pinned_here", False) and given.get("non_blocking")
        waits["queued upload" if is_queued else "upload"] += 1


@contextmanager
def simulate() -> Iterator[Waits]:
    """Let "cuda:0" exist on this thread, and on those that start meanwhile. Yields what is counted on all."""
    waits: Waits = Counter()
    run = threading.Thread.run

    def run_with_device(thread: threading.Thread) -> None:
        with SimulatedCuda(waits):
            run(thread)

    overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with (
            mock.patch.object(threading.Thread, "run", run_with_device),
            mock.patch("torch.cuda._lazy_init"),
            mock.patch("torch.cuda.synchronize", side_effect=lambda _: waits.update(["wait"])),
            mock.patch("torch.cuda.empty_cache", side_effect=lambda: waits.update(["memory handed back"])),
            SimulatedCuda(waits),
        ):
            yield waits
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(overwrite)

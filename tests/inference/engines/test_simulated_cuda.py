"""The simulated device says no where CUDA does, and sees whatever makes the host wait."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.inference.engines.simulated_cuda import Waits


@pytest.fixture
def numbers(cuda: Waits) -> torch.Tensor:
    made = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device="cuda:0")
    cuda.clear()
    return made


@pytest.mark.parametrize(
    "mix",
    [
        lambda numbers: numbers + torch.ones(2),
        lambda numbers: numbers[torch.tensor([0])],
        lambda numbers: torch.where(torch.ones(2, dtype=torch.bool), numbers, 0.0),
        lambda numbers: torch.nn.functional.linear(torch.ones(1, 2), numbers),
        lambda numbers: torch.cat([numbers, torch.ones(1, 2)]),
        lambda numbers: numbers.index_copy_(0, torch.tensor([0]), numbers[:1]),
    ],
)
@torch.inference_mode()
def test_device_and_host_do_not_mix(numbers: torch.Tensor, mix: Callable[[Any], Any]) -> None:
    with pytest.raises(RuntimeError, match="same device"):
        mix(numbers)


@pytest.mark.parametrize(
    ("read", "reason"),
    [
        (lambda numbers: numbers.tolist(), "read"),
        (lambda numbers: numbers.cpu(), "read"),
        (lambda numbers: float(numbers[0, 0]), "read by item"),
        (lambda numbers: bool((numbers > 2).any()), "read by is_nonzero"),
        (lambda numbers: numbers[numbers > 2], "read by index"),
        (lambda numbers: numbers.nonzero(), "read by nonzero"),
        (lambda _: torch.tensor([1.0], device="cuda:0"), "upload"),
        (lambda _: torch.tensor([1.0]).to("cuda:0", non_blocking=True), "upload"),
        (lambda _: torch.tensor([1.0]).pin_memory().to("cuda:0"), "upload"),
        (lambda _: torch.cuda.synchronize("cuda:0"), "wait"),
        (lambda _: torch.tensor([1.0]).pin_memory().to("cuda:0", non_blocking=True), "queued upload"),
    ],
)
@torch.inference_mode()
def test_what_the_host_waits_for_is_counted(
    numbers: torch.Tensor, cuda: Waits, read: Callable[[Any], Any], reason: str
) -> None:
    read(numbers)
    assert cuda == {reason: 1}


@torch.inference_mode()
def test_what_stays_on_the_device_waits_for_nothing(numbers: torch.Tensor, cuda: Waits) -> None:
    numbers[:, 1] *= 2
    numbers[0] = torch.where(numbers[1] > 2, numbers[0], 0.0)
    total = (numbers @ numbers.T + torch.arange(2, device=numbers.device)).sum(-1)
    assert not cuda
    assert total.device == torch.device("cuda:0")
    assert total.tolist() == [1 + 16 + 3 + 32 + 1, 3 + 32 + 9 + 64 + 1]

"""Where engines run: every test that starts one runs on each device that this machine has."""

from collections.abc import Iterator

import pytest
import torch

from tests.inference.engines import simulated_cuda

DEVICES = ["cpu"]
if torch.cuda.is_available():
    DEVICES.append("cuda:0")
    # The simulation is for where there is none.
    collect_ignore = ["test_simulated_cuda.py", "text/test_cuda.py", "batch/test_cuda.py"]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """The CPU, and CUDA where there is one: there in full float32, so that numbers can be compared."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield request.param


@pytest.fixture
def cuda() -> Iterator[simulated_cuda.Waits]:
    """A simulated "cuda:0", on this thread and on those that start in the test."""
    with simulated_cuda.simulate() as waits:
        yield waits

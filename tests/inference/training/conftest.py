"""What every training test needs: one thread, and a place to note progress."""

import pytest
import torch

from inference.training.progress import Progress


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def reports() -> list[Progress]:
    return []


def never() -> bool:
    return False

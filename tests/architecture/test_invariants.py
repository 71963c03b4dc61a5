"""The list of invariants is whole, and each of its proofs is a test that there is."""

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.invariants import INVARIANTS, Invariant

ROOT = Path(__file__).parents[2]


@cache
def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {function.name for function in functions if function.name.startswith("test_")}


def test_every_item_of_the_research_is_answered() -> None:
    wanted = [*(f"G{number}" for number in range(1, 30)), *(f"B{number}" for number in range(1, 11))]
    assert [each.number for each in INVARIANTS] == wanted


@pytest.mark.parametrize("invariant", INVARIANTS, ids=lambda each: each.number)
def test_its_proofs_are_tests(invariant: Invariant) -> None:
    assert bool(invariant.proofs) != bool(invariant.because)
    for proof in invariant.proofs:
        path, _, name = proof.partition("::")
        assert name in names_in(path), proof

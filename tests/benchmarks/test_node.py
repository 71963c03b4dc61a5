"""The benchmarks' Node is the Makefile's: the machine's if it is new enough, else the package's."""

import subprocess
from pathlib import Path

import pytest

from benchmarks import node


def write_program(path: Path, says: str) -> None:
    path.write_text(f"#!/bin/sh\necho {says}\n")
    path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has these programs alone."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_without_node_the_package_runs_both(machine: Path) -> None:
    found = node.find()
    for command in (found.node, found.npm):
        said = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout
        assert int(said.strip().removeprefix("v").partition(".")[0]) > 0


@pytest.mark.parametrize(("version", "own"), [("v18.20.4", False), ("v20.0.0", True), ("v24.1.0", True)])
def test_the_machines_own_is_taken_if_it_is_new_enough(machine: Path, version: str, own: bool) -> None:
    write_program(machine / "node", version)
    write_program(machine / "npm", "11")
    assert (node.find().folder == machine) is own


def test_node_without_npm_is_not_enough(machine: Path) -> None:
    write_program(machine / "node", "v24.1.0")
    assert node.find().folder != machine

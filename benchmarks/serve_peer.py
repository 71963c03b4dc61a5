"""`transformers serve` as a peer: its own environment, its own process, measured through HTTP as Mercato is."""

import asyncio
import os
import socket
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import httpx

# The continuous batching runs with these sizes, as it dies with others: 640 pages of 16 tokens.
VARIANTS: dict[str, list[str]] = {
    "transformers serve": [],
    "transformers serve with continuous batching": [
        "--continuous-batching",
        "--cb-block-size=16",
        "--cb-num-blocks=640",
        "--cb-max-batch-tokens=512",
    ],
}
ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 120
START = "import torch; torch.set_num_threads(1); from transformers.cli.transformers import main; main()"


def prepare() -> Path:
    """The python of an environment that sees ours and has besides what `serve` needs. Made once."""
    home = Path(os.environ.get("MERCATO_HOME") or ROOT / "var")
    folder = home / "bench" / f"serve-{version('transformers')}"
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.exists():
        venv.create(folder, with_pip=True, clear=True)
        ours = sysconfig.get_paths()["purelib"]
        theirs = next((folder / "lib").glob("python*/site-packages"))
        (theirs / "ours.pth").write_text(ours + "\n")
        wanted = f"transformers[serving]=={version('transformers')}"
        subprocess.run([python, "-m", "pip", "install", "--quiet", wanted], check=True)
        ready.touch()
    return python


@contextmanager
def serve(directory: Path, *, core: int, options: Sequence[str]) -> Iterator[str]:
    """A server of the model in `directory` on one core; its address once it answers."""
    python = prepare()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(python), "-c", START, "serve", str(directory), f"--port={port}", "--host=127.0.0.1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        ["taskset", "-c", str(core), *command, "--device=cpu", "--log-level=error", *options],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=sys.stderr if os.environ.get("BENCH_VERBOSE") else subprocess.DEVNULL,
    )
    try:
        _await_health(process, f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def measure(
    url: str, model: str, prompts: Sequence[str], *, answer: int, headers: Mapping[str, str] | None = None
) -> float:
    """Tokens per second over one burst of all prompts, after a small one to warm up."""
    # The client must not take the server's core, nor be counted by its own.
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(range(os.cpu_count() or 1)))
    try:
        asyncio.run(_ask_all(url, model, prompts[:2], answer=8, headers=headers))
        started = time.perf_counter()
        asyncio.run(_ask_all(url, model, prompts, answer=answer, headers=headers))
        return len(prompts) * answer / (time.perf_counter() - started)
    finally:
        os.sched_setaffinity(0, cores)


async def _ask_all(
    url: str, model: str, prompts: Sequence[str], *, answer: int, headers: Mapping[str, str] | None
) -> None:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=600, limits=limits, headers=headers) as client:
        await asyncio.gather(*(_ask(client, url, model, prompt, answer=answer) for prompt in prompts))


async def _ask(client: httpx.AsyncClient, url: str, model: str, prompt: str, *, answer: int) -> None:
    body = {"model": model, "prompt": prompt, "max_tokens": answer, "temperature": 0}
    response = await client.post(f"{url}/v1/completions", json=body)
    response.raise_for_status()
    made = response.json()["usage"]["completion_tokens"]
    if made != answer:
        raise RuntimeError(f"{url} made {made} tokens instead of {answer}")


def _await_health(process: "subprocess.Popen[bytes]", url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"transformers serve ended with status {process.returncode}")
        try:
            if httpx.get(url, timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise TimeoutError("transformers serve did not become healthy")

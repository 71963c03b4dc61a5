"""Other gateways, each in an environment of its own, in front of the same fake upstream."""

import os
import secrets
import subprocess
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.node import find as find_node
from benchmarks.processes import ROOT, Target, free_port, running

LITELLM = "litellm[proxy]==1.106.2"
PORTKEY = "@portkey-ai/gateway@1.15.2"
# As LiteLLM's own page on production advises, without a database: its fastest form.
LITELLM_CONFIG = """\
model_list:
  - model_name: fake
    litellm_params: {{model: openai/fake, api_base: "{upstream}/v1", api_key: none}}
litellm_settings: {{num_retries: 0, request_timeout: 30}}
general_settings: {{master_key: "{key}"}}
"""


def cache() -> Path:
    """Where peers are installed, once."""
    home = Path(os.environ.get("MERCATO_HOME") or ROOT / "var")
    return home / "bench"


@contextmanager
def litellm(upstream: str, *, core: int) -> Iterator[Target]:
    """LiteLLM's proxy on one core."""
    folder = cache() / LITELLM.replace("[proxy]==", "-")
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", LITELLM], check=True)
        (folder / "ready").touch()
    port = free_port()
    config = folder / "config.yaml"
    # It refuses to start with a key that is easily guessed.
    key = f"sk-{secrets.token_hex(32)}"
    config.write_text(LITELLM_CONFIG.format(upstream=upstream, key=key))
    environment = {
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    command = [
        str(folder / "bin" / "litellm"),
        "--config",
        str(config),
        "--port",
        str(port),
        "--host",
        "127.0.0.1",
    ]
    with running(
        command, core=core, environment=environment, ready=f"http://127.0.0.1:{port}/health/liveliness"
    ) as pid:
        yield Target(f"http://127.0.0.1:{port}/v1/chat/completions", {"Authorization": f"Bearer {key}"}, pid)


@contextmanager
def portkey(upstream: str, *, core: int) -> Iterator[Target]:
    """Portkey's gateway on one core."""
    node = find_node()
    folder = cache() / PORTKEY.rpartition("/")[2].replace("@", "-portkey-")
    if not (folder / "ready").exists():
        folder.mkdir(parents=True, exist_ok=True)
        install = [
            *node.npm, "install", "--loglevel=error", "--no-audit", "--no-fund", "--prefix", str(folder), PORTKEY
        ]  # fmt: skip
        # Scripts of packages call `node` by its name.
        path = f"{node.folder}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(install, check=True, env=os.environ | {"PATH": path})
        (folder / "ready").touch()
    port = free_port()
    server = folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    headers = {
        "x-portkey-provider": "openai", "x-portkey-custom-host": f"{upstream}/v1", "Authorization": "Bearer none",
    }  # fmt: skip
    command = [*node.node, str(server), f"--port={port}", "--headless"]
    # Without this Portkey refuses upstreams on private addresses, as a public gateway should.
    environment = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
    with running(command, core=core, environment=environment, ready=f"http://127.0.0.1:{port}/") as pid:
        yield Target(f"http://127.0.0.1:{port}/v1/chat/completions", headers, pid)

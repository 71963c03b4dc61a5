"""The whole system in a temporary home, with models to call and consumers who may spend more or less."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portal import embedded
from tests import tiny_models
from tests.stack import ROOT, Person, Stack

DOLLAR = 100_000_000
PAID = {
    "slug": "standard", "name": "Standard", "kind": "mixed", "monthly_fee": 0, "spend_cap": 50 * DOLLAR,
    "components": [
        {"meter": "input_tokens", "included": 500, "amount": 3 * DOLLAR, "per": 1_000_000},
        {"meter": "output_tokens", "included": 200, "amount": 7 * DOLLAR, "per": 1_000_000},
    ],
}  # fmt: skip
FREE = {
    "slug": "free", "name": "Free", "kind": "free",
    "components": [{"meter": "input_tokens", "included": 5_000_000, "amount": None, "per": 1}],
}  # fmt: skip
METERED = {
    "slug": "metered", "name": "Metered", "kind": "free",
    "components": [{"meter": "output_tokens", "included": 4_000, "amount": None, "per": 1}],
}  # fmt: skip


@dataclass(frozen=True)
class Consumer:
    """Who calls, with which key, what. `allowance` says in a word what they may spend."""

    name: str
    key: str
    allowance: str
    text: str
    embedding: str


@dataclass(frozen=True)
class Market:
    """A running site, who calls it, and the file in which its workers note what they generate."""

    stack: Stack
    consumers: list[Consumer]
    journal: Path

    @property
    def services(self) -> embedded.Services:
        found = embedded.attach(self.stack.home)
        if found is None:
            raise RuntimeError("the site's services are not running")
        return found


@contextmanager
def opened(*, consumers: int = 4, web_processes: int = 2) -> Iterator[Market]:
    """A market that is open. Everything goes with the block, but for the log of the site: `chaos.log` in the home."""
    with tempfile.TemporaryDirectory(prefix="mercato-chaos-") as folder:
        home = Path(folder) / "home"
        journal = Path(folder) / "worker.journal"
        environment = {
            "WORKER_JOURNAL": str(journal),
            "WEB_PROCESSES": str(web_processes),
            "LOG_LEVEL": "WARNING",
        }
        stack = Stack(home, environment=environment)
        try:
            stack.start()
            yield Market(stack, _fill(stack, Path(folder), consumers), journal)
        finally:
            if stack.process is not None:
                stack.stop()
            _keep_log(stack)


def _keep_log(stack: Stack) -> None:
    kept = Path(os.environ.get("MERCATO_HOME") or ROOT / "var") / "chaos.log"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(stack.log)


def _fill(stack: Stack, folder: Path, consumers: int) -> list[Consumer]:
    provider = stack.sign_up("provider@example.com")
    llama, bert = tiny_models.write_llama(folder / "llama"), tiny_models.write_bert(folder / "bert")
    text = publish(provider, "tiny-writer", "text-generation", llama, [PAID, METERED])
    embedding = publish(provider, "tiny-embedder", "feature-extraction", bert, [FREE])
    return [_join(stack, index, text=text, embedding=embedding) for index in range(consumers)]


def publish(provider: Person, slug: str, task: str, directory: Path, plans: list[dict[str, Any]]) -> str:
    """A published listing with plans; its `owner/slug`."""
    provider.call("POST", "/api/listings/", json={"slug": slug, "name": slug.title(), "task": task})
    listing = f"{provider.organisation}/{slug}"
    version = provider.upload(listing, directory)
    if version["state"] != "ready":
        raise RuntimeError(f"{listing} was refused: {version}")
    for plan in plans:
        heading = {name: plan[name] for name in ("slug", "name", "kind")}
        terms = {name: value for name, value in plan.items() if name not in heading}
        provider.call("POST", f"/api/listings/{listing}/plans/", json={**heading, "terms": terms})
    provider.call("PUT", f"/api/listings/{listing}/publication/")
    return listing


def _join(stack: Stack, index: int, *, text: str, embedding: str) -> Consumer:
    """Every fourth has little money, and every fourth a hard stop that the load reaches."""
    person = stack.sign_up(f"consumer-{index}@example.com")
    allowance = ("ample", "ample", "small", "metered")[index % 4]
    wish: dict[str, Any] = {"listing": text, "plan": "metered" if allowance == "metered" else "standard"}
    if allowance == "small":
        wish["spend_cap"] = 2 * DOLLAR // 100
    person.call("POST", "/api/subscriptions/", json=wish)
    person.call("POST", "/api/subscriptions/", json={"listing": embedding, "plan": "free"})
    consumer = Consumer(person.organisation, person.issue_key(), allowance, text, embedding)
    person.web.close()
    return consumer

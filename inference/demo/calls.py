"""Some days of use by the demo's consumer: real calls of the three models."""

import asyncio
import base64
import io
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
from asgiref.sync import sync_to_async
from django.db.models import Count

from billing.models import UsageEvent
from inference.demo.gateway import DemoProcess, spread_moments
from inference.demo.progress import Teller
from inference.demo.publishing import DemoIncomplete
from inference.gateway import app as gateway
from inference.training.progress import Cancelled, TrainingCancelled
from marketplace.models import Listing
from portal.accounts.models import Organisation

CALLS = {"text": 160, "embedding": 70, "image": 60}
AT_ONCE = 6
PATIENCE_SECONDS = 180.0
ANSWER_SECONDS = 300.0
RECORD_SECONDS = 30.0
QUESTIONS = (
    "What does json.loads do?", "Describe os.path.join", "Explain textwrap.dedent.", "What is a queue?",
    "Write documentation for sorted(iterable)", "Describe the class Thread", "What does shutil.copy do?",
    "Explain urllib.parse.", "Document the function read(size)", "Tell me about logging",
)  # fmt: skip
SENTENCES = (
    "The invoice is due at the end of the month.", "How do I reset my password?", "Our shop opens at nine.",
    "A worker loads the model when the first caller arrives.", "Ships leave the harbour before dawn.",
    "Refunds take three days.", "The recipe needs two eggs and flour.", "Trains to the coast run hourly.",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Visit:
    """One call to make: a path under /v1 and its body."""

    path: str
    body: dict[str, Any]


def make(
    listings: dict[str, Listing], *, buyer: Organisation, api_key: str, teller: Teller, cancelled: Cancelled
) -> None:
    """Make the calls that earlier runs have not made. Raises `DemoIncomplete` if they keep failing."""
    chooser = random.Random(time.time())  # noqa: S311 (when somebody seems to have called is no secret)
    missing = _count_missing(listings, buyer=buyer)
    visits = [
        visit
        for role, count in missing.items()
        for visit in _imagine(role, listings[role].path, count=count, chooser=chooser)
    ]
    chooser.shuffle(visits)
    if visits:
        asyncio.run(_make_all(visits, api_key=api_key, chooser=chooser, teller=teller, cancelled=cancelled))
        _await_record(listings, buyer=buyer)


def _count_missing(listings: dict[str, Listing], *, buyer: Organisation) -> dict[str, int]:
    rows = (
        UsageEvent.objects.filter(organisation=buyer, demo=True)
        .exclude(outcome="failed")
        .values_list("listing_id")
        .annotate(Count("id"))
    )
    made = dict(rows)
    return {role: max(0, CALLS[role] - made.get(listing.pk, 0)) for role, listing in listings.items()}


def _imagine(role: str, model: str, *, count: int, chooser: random.Random) -> Iterator[Visit]:
    imagine = {"text": _chat, "embedding": _embed, "image": _classify}[role]
    for _ in range(count):
        yield imagine(model, chooser)


def _chat(model: str, chooser: random.Random) -> Visit:
    question = {"role": "user", "content": chooser.choice(QUESTIONS)}
    return Visit(
        "/chat/completions",
        {
            "model": model, "messages": [question], "max_tokens": chooser.randint(16, 96),
            "temperature": chooser.choice([0.0, 0.7, 1.0]), "stream": chooser.random() < 0.6,
        },
    )  # fmt: skip


def _embed(model: str, chooser: random.Random) -> Visit:
    return Visit("/embeddings", {"model": model, "input": chooser.sample(SENTENCES, chooser.randint(1, 5))})


def _classify(model: str, chooser: random.Random) -> Visit:
    return Visit("/predictions", {"model": model, "input": {"image": _draw_digit(chooser), "top_k": 3}})


def _draw_digit(chooser: random.Random) -> str:
    """A handwritten digit of scikit-learn's as a PNG in base64."""
    from PIL import Image
    from sklearn.datasets import load_digits

    images = load_digits().images
    pixels = (images[chooser.randrange(len(images))] * 255 / 16).astype("uint8")
    buffer = io.BytesIO()
    Image.fromarray(pixels, mode="L").resize((64, 64)).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


async def _make_all(
    visits: list[Visit], *, api_key: str, chooser: random.Random, teller: Teller, cancelled: Cancelled
) -> None:
    moments = spread_moments(chooser)
    app = gateway.create(lambda: DemoProcess(moments))
    waiting = iter(enumerate(visits, start=1))
    async with app.router.lifespan_context(app), _client(app, api_key) as client:

        async def visit_in_turn() -> None:
            for number, visit in waiting:
                if cancelled():
                    raise TrainingCancelled
                await _visit(client, visit)
                # Django forbids its blocking parts in an event loop; the teller only uses Redis.
                await sync_to_async(teller.tell)(f"call {number} of {len(visits)}")

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(visit_in_turn())
        except ExceptionGroup as several:
            raise several.exceptions[0] from several


def _client(app: Any, api_key: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://demo", timeout=ANSWER_SECONDS,
        headers={"Authorization": f"Bearer {api_key}", "Prefer": "wait"},
    )  # fmt: skip


async def _visit(client: httpx.AsyncClient, visit: Visit) -> None:
    """One call, tried again while the site is busy or its worker is still starting."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        answer = await client.post(visit.path, json=visit.body)
        if answer.is_success:
            return
        if answer.status_code not in {429, 503} or time.monotonic() > deadline:
            raise DemoIncomplete(f"{visit.path} answered {answer.status_code}: {answer.text[:500]}")
        await asyncio.sleep(min(10.0, float(answer.headers.get("retry-after", 1))))


def _await_record(listings: dict[str, Listing], *, buyer: Organisation) -> None:
    deadline = time.monotonic() + RECORD_SECONDS
    while any(_count_missing(listings, buyer=buyer).values()):
        if time.monotonic() > deadline:
            raise DemoIncomplete("some calls have not been recorded: is the meter running?")
        time.sleep(0.2)

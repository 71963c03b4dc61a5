"""What the demo's company sells: three listings, how their models come about, and their plans."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from django.conf import settings
from django.utils.translation import gettext_noop

from inference.training.progress import Cancelled, Report
from marketplace.models import Meter, Plan, Task
from marketplace.pricing import Component, TermsFields
from portal.kit.money import from_major


class Build(Protocol):
    """One of `inference.training`'s builders."""

    def __call__(self, directory: Path, *, progress: Report, cancelled: Cancelled) -> Path: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A plan of a listing."""

    slug: str
    name: str
    kind: str
    terms: TermsFields


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A listing. `role` is its name in demo.json; the consumer takes the plan `bought`."""

    role: str
    slug: str
    name: str
    summary: str
    task: str
    making: str
    find_build: Callable[[], Build]
    offers: tuple[Offer, ...]
    bought: str


def _build_digits() -> Build:
    from inference.training import digits

    return digits.build


def _build_embedding() -> Build:
    from inference.training import embedding_model

    return embedding_model.build


def _build_language_model() -> Build:
    from inference.training import language_model

    return partial(language_model.build, seconds=settings.DEMO_TRAINING_SECONDS)


def _priced(meter: Meter, major: str, *, per: int, included: int = 0) -> Component:
    amount = from_major(major, settings.CURRENCY).amount
    return Component(meter=meter, amount=amount, per=per, included=included)


def list_products() -> tuple[Product, ...]:
    """All three, quickest first, so that the catalogue fills early."""
    return (_embedding(), _digits(), _language_model())


def _embedding() -> Product:
    free: TermsFields = {
        "components": [Component(meter=Meter.INPUT_TOKENS, included=1_000_000)],
        "requests_per_minute": 300,
    }
    team: TermsFields = {
        "monthly_fee": from_major("5.00", settings.CURRENCY).amount,
        "components": [_priced(Meter.INPUT_TOKENS, "0.02", per=1_000_000, included=50_000_000)],
        "requests_per_minute": 3_000,
    }
    return Product(
        role="embedding", slug="minilm-embeddings", name="MiniLM sentence embeddings", task=Task.FEATURE_EXTRACTION,
        summary="all-MiniLM-L6-v2: 384 numbers for the meaning of a sentence, for search and clustering.",
        making=gettext_noop("Copying the embedding model"), find_build=_build_embedding, bought="free",
        offers=(
            Offer(slug="free", name="Free", kind=Plan.Kind.FREE, terms=free),
            Offer(slug="team", name="Team", kind=Plan.Kind.MIXED, terms=team),
        ),
    )  # fmt: skip


def _digits() -> Product:
    free: TermsFields = {
        "components": [Component(meter=Meter.IMAGES, included=10_000)],
        "requests_per_minute": 300,
    }
    paid: TermsFields = {
        "components": [_priced(Meter.IMAGES, "0.50", per=1_000)],
        "requests_per_minute": 3_000,
    }
    return Product(
        role="image", slug="digits-convnet", name="Handwritten digits", task=Task.IMAGE_CLASSIFICATION,
        summary="A small convolutional network that reads one handwritten digit, trained here and measured.",
        making=gettext_noop("Training the image classifier"), find_build=_build_digits, bought="free",
        offers=(
            Offer(slug="free", name="Free", kind=Plan.Kind.FREE, terms=free),
            Offer(slug="per-image", name="Per image", kind=Plan.Kind.PAID, terms=paid),
        ),
    )  # fmt: skip


def _language_model() -> Product:
    free: TermsFields = {
        "components": [Component(meter=Meter.OUTPUT_TOKENS, included=100_000)],
        "requests_per_minute": 60,
        "concurrent_requests": 8,
    }
    standard: TermsFields = {
        "monthly_fee": from_major("2.00", settings.CURRENCY).amount,
        "components": [
            _priced(Meter.INPUT_TOKENS, "3.00", per=1_000_000, included=1_000),
            _priced(Meter.OUTPUT_TOKENS, "15.00", per=1_000_000, included=2_000),
        ],
        "requests_per_minute": 3_000,
        "concurrent_requests": 128,
    }
    return Product(
        role="text", slug="stdlib-writer", name="Standard library writer", task=Task.TEXT_GENERATION,
        summary="A language model of our own that writes in the manner of Python's library documentation.",
        making=gettext_noop("Training the language model (about two minutes)"), find_build=_build_language_model,
        bought="standard",
        offers=(
            Offer(slug="free", name="Free", kind=Plan.Kind.FREE, terms=free),
            Offer(slug="standard", name="Standard", kind=Plan.Kind.MIXED, terms=standard),
        ),
    )  # fmt: skip

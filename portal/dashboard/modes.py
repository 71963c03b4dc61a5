"""How a listing can be tried and called: what its task, and its current version, allow."""

from typing import Literal

from marketplace.models import Listing, Task, Version

Mode = Literal["chat", "completion", "embedding", "image", "text"]

# Where each is called, below the base URL.
PATHS: dict[Mode, str] = {
    "chat": "/chat/completions",
    "completion": "/completions",
    "embedding": "/embeddings",
    "image": "/predictions",
    "text": "/predictions",
}


def of(listing: Listing, version: Version | None = None) -> tuple[Mode, ...]:
    """The modes of the listing's current version or of another one, the usual mode first."""
    match Task(listing.task):
        case Task.TEXT_GENERATION:
            has_template = _has_chat_template(version or listing.current_version)
            return ("chat", "completion") if has_template else ("completion",)
        case Task.FEATURE_EXTRACTION:
            return ("embedding",)
        case Task.IMAGE_CLASSIFICATION:
            return ("image",)
        case Task.TEXT_CLASSIFICATION:
            return ("text",)


def chosen(listing: Listing, wanted: str, version: Version | None = None) -> Mode:
    """The wanted mode if there is that, else the usual one."""
    there = of(listing, version)
    return next((mode for mode in there if mode == wanted), there[0])


def _has_chat_template(version: Version | None) -> bool:
    """As its examination found; a version that was not asked is taken to chat."""
    facts = (version.report.get("facts") if version else None) or {}
    return bool(facts.get("has_chat_template", True))

"""How a listing can be tried and called: what its task, and its current version, allow."""

from typing import Literal

from marketplace.models import Listing, Task

Mode = Literal["chat", "completion", "embedding", "image", "text"]

# Where each is called, below the base URL.
PATHS: dict[Mode, str] = {
    "chat": "/chat/completions",
    "completion": "/completions",
    "embedding": "/embeddings",
    "image": "/predictions",
    "text": "/predictions",
}


def of(listing: Listing) -> tuple[Mode, ...]:
    """The listing's modes, the usual one first."""
    match Task(listing.task):
        case Task.TEXT_GENERATION:
            return ("chat", "completion") if _has_chat_template(listing) else ("completion",)
        case Task.FEATURE_EXTRACTION:
            return ("embedding",)
        case Task.IMAGE_CLASSIFICATION:
            return ("image",)
        case Task.TEXT_CLASSIFICATION:
            return ("text",)


def chosen(listing: Listing, wanted: str) -> Mode:
    """The wanted mode if the listing has it, else its usual one."""
    return next((mode for mode in of(listing) if mode == wanted), of(listing)[0])


def _has_chat_template(listing: Listing) -> bool:
    """As its examination found; a version that was not asked is taken to chat."""
    version = listing.current_version
    facts = (version.report.get("facts") if version else None) or {}
    return bool(facts.get("has_chat_template", True))

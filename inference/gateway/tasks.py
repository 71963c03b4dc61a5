"""Which endpoint serves which task."""

from inference.gateway.errors import WrongTask
from inference.gateway.lookup import Route

ENDPOINTS = {
    "text-generation": "/v1/chat/completions or /v1/completions",
    "feature-extraction": "/v1/embeddings",
    "text-classification": "/v1/predictions",
    "image-classification": "/v1/predictions",
}
_NAMES = {
    "text-generation": "text generation", "feature-extraction": "embeddings",
    "text-classification": "text classification", "image-classification": "image classification",
}  # fmt: skip


def require_task(route: Route, *tasks: str) -> None:
    """Raises `WrongTask` with the endpoint that the model is for."""
    if route.task not in tasks:
        raise WrongTask(
            model=route.model, task=_NAMES.get(route.task, route.task), param="model",
            endpoint=ENDPOINTS.get(route.task, "/v1/predictions"),
        )  # fmt: skip

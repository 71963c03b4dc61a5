"""Request bodies: OpenAI's parameters, exactly. What would change a result is never silently ignored."""

from inference.gateway.schemas.chat import ChatRequest
from inference.gateway.schemas.completions import CompletionRequest
from inference.gateway.schemas.embeddings import EmbeddingRequest
from inference.gateway.schemas.parsing import parse
from inference.gateway.schemas.predictions import PredictionRequest

__all__ = ["ChatRequest", "CompletionRequest", "EmbeddingRequest", "PredictionRequest", "parse"]

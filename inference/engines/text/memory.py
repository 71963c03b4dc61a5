"""How many bytes the engine takes: the arithmetic that admission and publishing share. No torch here."""

from collections.abc import Mapping
from typing import Any

from inference.engines.text.configuration import Shape, dtype_of, shape_of

SHORTEST_SLOT = 128
# What room is reckoned for a step: tokens, and rows of logits. A GPU takes more at once.
STEP_TOKENS, LOGIT_ROWS = 512, 64
GPU_STEP_TOKENS, GPU_LOGIT_ROWS = 2048, 256
ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def slot_lengths(context_length: int) -> list[int]:
    """The lengths a slot may have, in tokens, ascending: powers of two, the last one the context itself."""
    lengths = []
    length = SHORTEST_SLOT
    while length < context_length:
        lengths.append(length)
        length *= 2
    return [*lengths, context_length]


def kv_bytes_per_token(shape: Shape, *, item_bytes: int) -> int:
    """Bytes that one token's keys and values take over all layers."""
    return 2 * shape.layers * shape.kv_heads * shape.head_dim * item_bytes


def working_bytes(shape: Shape, *, step_tokens: int = STEP_TOKENS, logit_rows: int = LOGIT_ROWS) -> int:
    """Bytes of a step's activations, and of float32 logits with their copies in sampling."""
    return 4 * (step_tokens * shape.hidden * 16 + logit_rows * shape.vocab * 3)


def estimate_memory(config: Mapping[str, Any], *, slots: int, context: int, weight_bytes: int = 0) -> int:
    """Bytes to run `slots` sequences of `context` tokens of this raw config: a version's `memory_bytes`.

    Raises `UnloadableVersion` for a config that the engine would refuse.
    """
    shape = shape_of(config)
    item_bytes = ITEM_BYTES[dtype_of(config) or "float32"]
    cache = slots * context * kv_bytes_per_token(shape, item_bytes=item_bytes)
    return weight_bytes + cache + working_bytes(shape)

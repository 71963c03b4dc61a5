"""One request on its way through the engine: plain facts that scheduler, cache and sampler share."""

from dataclasses import dataclass, field

from inference.engines.base import GenerateRequest


@dataclass(slots=True, eq=False)
class Sequence:
    """The tokens of a request so far and how much of them the cache holds. Lengths in tokens.

    `tokens` is the prompt and what was sampled; the first `computed` have their keys and values in the
    cache, of which `cached` came from another sequence. `limit` is the most `tokens` can ever grow to.
    `pool` and `slot` say where in the cache, while it runs. One that made way for another owner's computes again
    what the cache has lost meanwhile: up to `counted` that has been counted already, as has `cached`.
    """

    request: GenerateRequest
    limit: int
    tokens: list[int] = field(init=False)
    prompt_length: int = field(init=False)
    computed: int = 0
    cached: int = 0
    compute_ms: float = 0.0
    pool: int = -1
    slot: int = -1
    counted: int = 0
    has_made_way: bool = False

    def __post_init__(self) -> None:
        self.tokens = list(self.request.prompt_ids)
        self.prompt_length = len(self.tokens)

    @property
    def sampled(self) -> int:
        return len(self.tokens) - self.prompt_length

    @property
    def is_prefilling(self) -> bool:
        return len(self.tokens) - self.computed > 1 or self.computed < self.prompt_length


@dataclass(frozen=True, slots=True)
class Work:
    """Compute `count` tokens of a sequence, from `start`, in the coming step."""

    sequence: Sequence
    start: int
    count: int

    @property
    def completes(self) -> bool:
        """Whether the last known token is among them, so that the next one can be sampled."""
        return self.start + self.count == len(self.sequence.tokens)

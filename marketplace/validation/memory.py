"""What a replica takes on its device: pure arithmetic over a version's facts. Bytes."""

from marketplace.validation.configs import DTYPES, Config
from marketplace.validation.headers import ITEM_BYTES
from marketplace.validation.tensors import Weights

# The key-value budget: this many sequences of full length, or, for long contexts, this many tokens,
# but always one whole context.
SLOTS = 32
BUDGET_TOKENS = 65_536
# A step on a GPU, where it is largest: what is reserved must do wherever the version runs.
STEP_TOKENS = 2048
LOGIT_ROWS = 256
BATCH_TOKENS = 16_384
FRAMEWORK_BYTES = 32 * 2**20


def needed_bytes(weights: Weights, config: Config, *, generates: bool) -> int:
    """Weights as they are loaded, working memory of a step and, for text generation, the key-value cache."""
    item = loaded_item_bytes(config)
    total = FRAMEWORK_BYTES + weights.parameter_count * item
    if generates:
        return total + kv_budget_bytes(config) + _generation_bytes(config)
    return total + 4 * BATCH_TOKENS * max(config.shape.hidden, 256) * 8


def loaded_item_bytes(config: Config) -> int:
    """Bytes per parameter once loaded: as the config's dtype says, float32 where it says nothing."""
    named = config.values.get("dtype") or config.values.get("torch_dtype")
    return ITEM_BYTES[DTYPES.get(str(named), "F32")]


def kv_bytes_per_token(config: Config) -> int:
    """Keys and values of one token over all layers."""
    shape = config.shape
    return 2 * shape.layers * shape.kv_heads * shape.head_dim * loaded_item_bytes(config)


def kv_budget_bytes(config: Config) -> int:
    """The key-value cache that a replica is given."""
    context = config.shape.positions
    tokens = max(context, min(SLOTS * context, BUDGET_TOKENS))
    return tokens * kv_bytes_per_token(config)


def _generation_bytes(config: Config) -> int:
    """Activations of a step and float32 logits with the copies that sampling makes."""
    return 4 * (STEP_TOKENS * config.shape.hidden * 16 + LOGIT_ROWS * config.shape.vocab * 3)

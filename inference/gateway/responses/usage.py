"""The `usage` object and the headers of an answer."""

from collections.abc import Mapping
from typing import Any

import orjson

from inference.gateway.call import Call, Ending
from portal.kit.money import Money


def cost(ending: Ending, currency: str) -> orjson.Fragment:
    """The charge as an exact JSON number of currency units: dollars for USD."""
    return orjson.Fragment(cost_text(ending, currency))


def cost_text(ending: Ending, currency: str) -> str:
    """The charge in currency units, in decimal notation without an exponent."""
    text = f"{Money(ending.charge, currency).major():f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def of_generation(call: Call, ending: Ending) -> dict[str, Any]:
    """Tokens as recorded; `cost` in currency units, `cost_micro` in millionths of a minor unit."""
    prompt = ending.quantities.get("input_tokens", 0)
    completion = ending.quantities.get("output_tokens", 0)
    return {
        "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": ending.quantities.get("cached_tokens", 0), "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": ending.reasoning_tokens, "audio_tokens": 0, "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
        **money(call, ending),
    }  # fmt: skip


def of_embeddings(call: Call, ending: Ending) -> dict[str, Any]:
    prompt = ending.quantities.get("input_tokens", 0)
    return {"prompt_tokens": prompt, "total_tokens": prompt, **money(call, ending)}


def money(call: Call, ending: Ending) -> dict[str, Any]:
    currency = call.facts.currency
    return {"cost": cost(ending, currency), "cost_micro": ending.charge, "currency": currency}


def headers(call: Call) -> dict[str, str]:
    """The request's id, how long it has taken so far and what remains of the rate limits."""
    return {
        "x-request-id": call.public_id,
        "openai-processing-ms": str(round(call.age * 1000)),
        **limit_headers(call),
    }


def limit_headers(call: Call) -> Mapping[str, str]:
    """`x-ratelimit-*` for requests and tokens, where the plan limits them."""
    found: dict[str, str] = {}
    for scope, window in (("requests", call.admitted.requests), ("tokens", call.admitted.tokens)):
        if window is not None:
            found[f"x-ratelimit-limit-{scope}"] = str(window.limit)
            found[f"x-ratelimit-remaining-{scope}"] = str(window.remaining)
            found[f"x-ratelimit-reset-{scope}"] = f"{window.reset_seconds:.3f}s"
    return found


def cost_headers(call: Call, ending: Ending) -> Mapping[str, str]:
    currency = call.facts.currency
    return {"x-mercato-cost": cost_text(ending, currency), "x-mercato-cost-currency": currency}

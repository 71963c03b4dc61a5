"""Where the building of the demo world stands, for the pages."""

import json
from dataclasses import dataclass
from typing import Any

import redis.exceptions
from django.utils.translation import gettext

from inference.demo.progress import KEY
from portal.kit import redis as kit_redis


@dataclass(frozen=True, slots=True, kw_only=True)
class Building:
    """`done` of `total` steps are behind it; `step` is the present one, `message` what it is doing."""

    step: str
    message: str
    done: int
    total: int

    @property
    def number(self) -> int:
        """Of the present step, from 1."""
        return min(self.done + 1, self.total)

    @property
    def title(self) -> str:
        return gettext(self.step) if self.step else ""


def building() -> Building | None:
    """None where no demo is being built, its builder fell silent, or Redis does not answer."""
    try:
        kept = kit_redis.client().get(KEY)
    except redis.exceptions.RedisError:
        return None
    state: dict[str, Any] = json.loads(kept) if isinstance(kept, bytes) else {"finished": True}
    if state["finished"]:
        return None
    return Building(step=state["step"], message=state["message"], done=state["done"], total=state["total"])

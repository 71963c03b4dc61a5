"""Every route of the site with its parameters, from Django's own resolver."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

# Owned by libraries with tests of their own, or without anything of an organisation.
ELSEWHERE = ("admin/", "accounts/", "i18n/", "api/schema/", "api/docs/", "healthz", "readyz", "metrics")
# The same parameter name, another thing.
DIFFERENT = {"organisations": {"slug": "acme"}, "requests": {"pk": "0" * 26}}
_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>|\(\?P<(\w+)>(?:[^()]|\([^()]*\))*\)")


@dataclass(frozen=True)
class Route:
    """A pattern such as `console/keys/<uuid:key_id>/revoke/`."""

    pattern: str

    def __str__(self) -> str:
        return self.pattern or "/"

    def path(self, arguments: dict[str, Any]) -> str:
        """The URL with acme's things in it. A new parameter must be taught to `world.build`."""

        def fill(match: re.Match[str]) -> str:
            name = match[1] or match[2]
            special = next(
                (values for head, values in DIFFERENT.items() if f"api/^{head}" in self.pattern), {}
            )
            special = DIFFERENT["organisations"] if "api/organisations/" in self.pattern else special
            values = {**arguments, **special}
            assert name in values, f"teach tests/tenancy/world.py the parameter {name!r} of {self.pattern}"
            return str(values[name])

        return "/" + _PARAMETER.sub(fill, self.pattern).replace("^", "").replace("$", "")


def walk(patterns: Any = None, prefix: str = "") -> Iterator[Route]:
    """All routes but those of `ELSEWHERE`."""
    for entry in get_resolver().url_patterns if patterns is None else patterns:
        whole = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from walk(entry.url_patterns, whole)
        elif isinstance(entry, URLPattern) and not whole.startswith(ELSEWHERE):
            yield Route(whole)

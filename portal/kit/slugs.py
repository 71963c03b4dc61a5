"""Names in addresses: which mislead, and which look like another.

A slug's skeleton is what the eye keeps of it (after Unicode's confusable detection, UTS 39, for the few signs that a
slug can have): 0 is o, 1 and i are l, hyphens and underscores are nothing.
"""

from django.utils.translation import gettext_noop

from portal.kit.errors import PortalError

PRODUCT = "mercato"
_LOOKS_LIKE = str.maketrans({"0": "o", "1": "l", "i": "l", "-": None, "_": None})

# The first parts of the site's addresses, and of those that sites usually have.
ADDRESSES = (
    "accounts", "admin", "api", "console", "demo", "docs", "healthz", "i18n", "listings", "media", "metrics", "new",
    "organisation", "readyz", "static", "studio", "v1", "app", "assets", "auth", "blog", "cdn", "dashboard",
    "download", "explore", "favicon", "ftp", "graphql", "health", "home", "index", "login", "logout", "mail", "me",
    "models", "oauth", "organisations", "organization", "organizations", "playground", "plans", "pricing", "robots",
    "search", "settings", "shop", "signin", "signup", "sitemap", "status", "v2", "well-known", "www",
)  # fmt: skip
# Who speaks for the marketplace, or for nobody.
OFFICES = (
    "abuse", "administrator", "anonymous", "anyone", "billing", "compliance", "contact", "developer", "everyone",
    "finance", "help", "helpdesk", "hostmaster", "info", "legal", "marketplace", "member", "moderator", "noreply",
    "no-reply", "nobody", "null", "official", "operations", "operator", "owner", "payment", "payments", "payouts",
    "postmaster", "press", "privacy", "refunds", "root", "sales", "security", "staff", "superuser", "support",
    "sysadmin", "system", "team", "terms", "trust", "undefined", "user", "users", "verified", "viewer", "visitor",
    "visitors", "webmaster",
)  # fmt: skip
# As a word of a longer name they mislead too.
WORDS = (PRODUCT, "official")


def skeleton(slug: str) -> str:
    """What looks the same is the same here; empty for a slug without a letter or digit."""
    return slug.lower().translate(_LOOKS_LIKE)


def is_reserved(slug: str) -> bool:
    """Whether nobody may take it, however it is written."""
    words = slug.lower().replace("_", "-").split("-")
    return skeleton(slug) in _RESERVED or any(skeleton(word) in _MISLEADING for word in words)


class SlugReserved(PortalError):
    code = "slug_reserved"
    message = gettext_noop(
        "The name {slug} is reserved: it could be taken for a part of this site. Choose another."
    )


_RESERVED = frozenset(map(skeleton, (*ADDRESSES, *OFFICES, *WORDS)))
_MISLEADING = frozenset(map(skeleton, WORDS))

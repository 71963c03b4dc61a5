"""The ASGI composition: the data plane is a thin application beside Django.

An empty async Django view costs about 0.45 ms of a core, a bare ASGI application a tenth of that;
`/v1` is the hot path, so it does not pass Django's middleware. The activities behind it are the same.
"""

import asyncio
import os
from typing import cast

import django
from django.apps import apps
from django.db import connections
from starlette.types import ASGIApp, Receive, Scope, Send

from portal.kit import environment

DATA_PLANE = "/v1"

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
if not apps.ready:
    django.setup()
    # Every request has a thread of its own here, and a connection of its own would be made for it: 20 ms of a page.
    options = connections.settings["default"]["OPTIONS"]
    connections.settings["default"]["OPTIONS"] = environment.database_pool() | options


def compose() -> ASGIApp:
    """The data plane under /v1, Django for everything else. The lifespan is the data plane's."""
    from django.core.asgi import get_asgi_application

    from inference.gateway.app import create
    from marketplace.uploads import MAX_CHUNK_BYTES
    from portal.kit.bodies import LimitedBodies

    # The largest body that any page or the control API takes is a chunk of an upload; forms are far smaller.
    pages = LimitedBodies(cast("ASGIApp", get_asgi_application()), most=MAX_CHUNK_BYTES + 2**20)
    return beside(create(), pages)


def beside(data_plane: ASGIApp, pages: ASGIApp) -> ASGIApp:
    """One application of two. Starlette's own mounts would put a second stack of middleware before each."""

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            if refusal := await asyncio.to_thread(_find_refusal):
                await receive()
                await send({"type": "lifespan.startup.failed", "message": refusal})
                return
            await data_plane(scope, receive, send)
            return
        root = scope.get("root_path", "") + DATA_PLANE
        path = scope["path"]
        if path.startswith(f"{root}/") and "//" not in path and path[-1] != "/":
            await data_plane({**scope, "root_path": root}, receive, send)
        elif (meant := _meant_below(path, root)) is not None:
            await data_plane({**scope, "path": meant, "root_path": root}, receive, send)
        else:
            await pages(scope, receive, send)

    return dispatch


def _meant_below(path: str, root: str) -> str | None:
    """A path of the data plane as it was meant: base URLs are joined with a slash too many, or end in one, and
    `/V1` is no page either. None for all others.
    """
    tidy = "/" + "/".join(filter(None, path.split("/")))
    head, rest = tidy[: len(root)], tidy[len(root) :]
    return root + rest if head.lower() == root.lower() and rest[:1] in ("", "/") else None


def _find_refusal() -> str:
    """Why the services that were named cannot be used; "" if they can, or do not say."""
    from portal.kit import redis_fitness

    try:
        redis_fitness.require()
    except redis_fitness.Unfit as unfit:
        return f"Mercato cannot start: {unfit}"
    return ""


application = compose()

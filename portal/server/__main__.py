"""Serve the site: `python -m portal.server`. HOST, PORT, WEB_PROCESSES, TRUST_PROXY and LOG_LEVEL say how."""

import os
import sys

import uvicorn

from portal.kit import environment as env
from portal.kit import site
from portal.server.limits import raise_descriptor_limit

PROTOCOL = "portal.server.protocol:BoundedProtocol"
# Longer than clients keep theirs (httpx 5 s, nginx 60): whoever closes first never meets a request.
KEEP_ALIVE_SECONDS = 75
GRACE_SECONDS = 12


def main() -> None:
    try:
        port, processes = env.port(), env.web_processes()
        behind_proxy = env.flag("TRUST_PROXY", default=False)
        level = site.log_level()
        env.connections_per_address()
    except env.WrongSetting as error:
        sys.exit(f"Mercato cannot start: {error}")
    raise_descriptor_limit()
    uvicorn.run(
        "portal.asgi:application",
        host=os.environ.get("HOST", "127.0.0.1"),
        port=port,
        workers=processes,
        http=PROTOCOL,
        ws="none",
        lifespan="on",
        access_log=False,
        log_level=level.lower(),
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        # Without a proxy of the operator's, no caller says by a header what address he has.
        proxy_headers=behind_proxy,
    )


if __name__ == "__main__":
    main()

"""One embedded Postgres and Redis for a whole test session.

The root conftest calls `start_services()` in `pytest_configure`, before Django reads its settings.
"""

import atexit
import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from portal import embedded


def start_services() -> embedded.Services:
    """Start what DATABASE_URL and REDIS_URL do not name, export both, and stop with the session.

    State lives in a temporary home, which becomes MERCATO_HOME unless that is set.
    """
    stack = contextlib.ExitStack()
    home = Path(tempfile.mkdtemp(prefix="mercato-tests-"))
    home.chmod(0o755)  # as homes are; what is secret in it is closed by itself
    stack.callback(shutil.rmtree, home, ignore_errors=True)
    database_url, redis_url = os.environ.get("DATABASE_URL"), os.environ.get("REDIS_URL")
    services = stack.enter_context(
        embedded.running(home, database_url=database_url, redis_url=redis_url, durable=False)
    )
    atexit.register(stack.close)
    os.environ.setdefault("MERCATO_HOME", str(home))
    os.environ["DATABASE_URL"], os.environ["REDIS_URL"] = services.database_url, services.redis_url
    return services

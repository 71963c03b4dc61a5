"""Own the services of the home named as the first argument until told to stop. Prints where they are."""

import json
import os
import signal
import sys
from pathlib import Path

from portal import embedded


def stop(*_: object) -> None:
    sys.exit(0)


signal.signal(signal.SIGTERM, stop)
try:
    with embedded.running(Path(sys.argv[1])) as services:
        print(
            json.dumps({"pid": os.getpid(), "database": services.database_url, "redis": services.redis_url}),
            flush=True,
        )
        signal.pause()
except embedded.EmbeddedServiceError as error:
    sys.exit(str(error))

"""PostgreSQL and Redis that come with Mercato, for a machine that has none.

Real servers from pip packages, run as children of ours on loopback, with their state in `MERCATO_HOME`.
Nothing here knows Django: settings need the URLs that this package gives.
"""

from portal.embedded.errors import EmbeddedServiceError, HomeInUse
from portal.embedded.hosting import Services, attach, joining, mark_stopping, running
from portal.embedded.locations import find_home

__all__ = [
    "EmbeddedServiceError",
    "HomeInUse",
    "Services",
    "attach",
    "find_home",
    "joining",
    "mark_stopping",
    "running",
]

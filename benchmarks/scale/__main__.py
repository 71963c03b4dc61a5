"""`python -m benchmarks.scale make|enter LISTINGS EVENTS DAYS`, with the services' URLs in the environment."""

import json
import sys
import time

from benchmarks.scale.size import Size


def main() -> None:
    """`make` fills an empty database; `enter` signs in and prints the cookies and a key as JSON."""
    import django

    django.setup()
    what, listings, events, days = sys.argv[1], *map(int, sys.argv[2:5])
    if what == "make":
        _make(Size(listings=listings, events=events, days=days))
    else:
        print(json.dumps(_enter()))


def _make(size: Size) -> None:
    from django.core.management import call_command

    from benchmarks.scale import making

    started = time.monotonic()
    call_command("migrate", verbosity=0)
    making.make(size, say=lambda step: print(f"{time.monotonic() - started:7.1f} s  {step}", file=sys.stderr))
    print(f"{time.monotonic() - started:7.1f} s  done", file=sys.stderr)


def _enter() -> dict[str, str]:
    """The heavy consumer, who may call with a new key, and the heavy provider."""
    from portal.accounts import api_keys
    from portal.accounts.models import Membership, Organisation, Role, User

    user = User.objects.get(email="scale@example.com")
    consumer = Organisation.objects.get(slug="buyer-0")
    provider = Organisation.objects.filter(listings__subscriptions__organisation=consumer).earliest("id")
    for organisation in (consumer, provider):
        Membership.objects.get_or_create(organisation=organisation, user=user, defaults={"role": Role.OWNER})
    _, key = api_keys.issue(consumer, by=user, name="bench", scopes=["inference"])
    return {
        "consumer_cookie": _sign_in(user, consumer),
        "provider_cookie": _sign_in(user, provider),
        "key": key,
    }


def _sign_in(user: object, organisation: object) -> str:
    from django.conf import settings
    from django.contrib.auth.models import AbstractBaseUser
    from django.test import Client

    from portal.accounts.models import Organisation

    assert isinstance(user, AbstractBaseUser)
    assert isinstance(organisation, Organisation)
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    session = client.session
    session["organisation"] = organisation.slug
    session.save()
    return f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"


if __name__ == "__main__":
    main()

"""How many passwords may be tried: few from one address for one account, so that who guesses from elsewhere neither
gets far nor keeps the owner out; few more from a device that the account knows, whatever happens elsewhere.

An account that is guessed at from very many addresses takes passwords of known devices alone; a link by mail, which
always works, makes another device known.
"""

from django.http import HttpRequest

from portal.accounts import devices
from portal.kit import addresses, ratelimit
from portal.kit.ratelimit import Rate

HERE = Rate(5, 300)
KNOWN = Rate(10, 300)
# Of one address for all accounts, and of all unknown devices for one account.
ADDRESS = Rate(30, 300)
ACCOUNT = Rate(100, 3600)

Taken = list[tuple[str, str, Rate]]


def begin(request: HttpRequest, email: str) -> Taken | None:
    """Count an attempt; None where it is one too many. What is returned is for `give_back`."""
    taken: Taken = []
    for what, who, rate in _limits(request, email):
        if ratelimit.take(what, who, rate):
            give_back(taken)
            return None
        taken.append((what, who, rate))
    return taken


def give_back(taken: Taken) -> None:
    """The password was right."""
    for what, who, rate in taken:
        ratelimit.give_back(what, who, rate)


def clear(request: HttpRequest, email: str) -> None:
    """The owner has proved by mail who they are."""
    for what, who, rate in _limits(request, email):
        if rate is not ADDRESS:
            ratelimit.clear(what, who, rate)


def _limits(request: HttpRequest, email: str) -> Taken:
    email, address = email.lower(), addresses.of(request)
    device = devices.find(request, email)
    if device is not None:
        return [("sign-in-known", f"{email} {device}", KNOWN)]
    return [
        ("sign-in", f"{email} {address}", HERE), ("sign-in-address", address, ADDRESS), ("sign-in-account", email, ACCOUNT),
    ]  # fmt: skip

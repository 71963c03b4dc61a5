"""Sessions of browsers, which stay in the database until somebody deletes them."""

from importlib import import_module

from django.conf import settings


def clear_expired() -> None:
    """Delete those that have expired: as Django's command `clearsessions`."""
    import_module(settings.SESSION_ENGINE).SessionStore.clear_expired()

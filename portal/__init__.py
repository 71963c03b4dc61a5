"""The portal: settings, composition, identity and the pages that read across apps."""

from portal.celery import app as celery_app

__all__ = ["celery_app"]

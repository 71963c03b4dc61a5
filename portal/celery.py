"""The Celery application: broker over Redis, no result backend (answers travel on reply streams)."""

import os
from typing import Any

from celery import Celery
from celery.app.amqp import AMQP
from kombu import Connection

# Between two attempts to reach the broker. kombu's own wait grows to 30 s, in which a broker that is back serves nobody.
LONGEST_WAIT_SECONDS = 2.0


class PromptConnection(Connection):
    """A connection to the broker that looks often whether the broker is back."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        waits = {"interval_start": 0.5, "interval_step": 0.5, "interval_max": LONGEST_WAIT_SECONDS}
        return super().ensure_connection(*args, **waits | kwargs)


class PromptAMQP(AMQP):
    """Makes such connections."""

    Connection = PromptConnection


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

app = Celery("mercato", amqp="portal.celery:PromptAMQP")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

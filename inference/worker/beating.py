"""Celery beat under a lock in Redis, so that a second one waits instead of sending everything twice."""

import logging
import os
import time
from functools import partial
from pathlib import Path

import redis
from celery import Celery
from django.conf import settings

from inference.schedule import SCHEDULE
from inference.worker.celery_settings import quieten
from portal.kit import ids, supervision
from portal.kit.redis import client as redis_client

log = logging.getLogger(__name__)

LOCK = "beat:lock"
LOCK_SECONDS = 30
RENEW_SECONDS = 5.0
# Renewed only by its holder; free again when that is gone.
RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('EXPIRE', KEYS[1], ARGV[2]) end
return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2]) and 1 or 0
"""


def run(app: Celery) -> None:
    """Wait for the lock, then beat until stopped. The process ends if another one takes the lock."""
    quieten()
    token = ids.uuid7().hex
    client = redis_client()
    _wait_for_lock(client, token)
    supervision.thread(partial(_keep_lock, client, token), name="beat-lock").start()
    app.conf.update(beat_schedule=SCHEDULE)
    file = Path(settings.HOME) / "beat" / "schedule"
    file.parent.mkdir(parents=True, exist_ok=True)
    log.info("beating")
    try:
        app.Beat(schedule=str(file), loglevel="WARNING", quiet=True).run()
    finally:
        if client.get(LOCK) == token.encode():
            client.delete(LOCK)


def _wait_for_lock(client: "redis.Redis", token: str) -> None:
    told = False
    while not _hold(client, token):
        if not told:
            log.info("another beat is active; waiting for it to go")
            told = True
        time.sleep(RENEW_SECONDS)


def _keep_lock(client: "redis.Redis", token: str) -> None:
    while True:
        time.sleep(RENEW_SECONDS)
        try:
            if not _hold(client, token):
                log.critical("another beat holds the lock; this one ends")
                os._exit(75)
        except redis.RedisError as error:
            log.warning("the lock of beat waits for Redis: %s", error)


def _hold(client: "redis.Redis", token: str) -> bool:
    return bool(client.eval(RENEW, 1, LOCK, token, LOCK_SECONDS))

"""Work of the `jobs` process: doors to activities."""

from portal.celery import app


@app.task(name="accounts.clear_sessions")
def clear_sessions() -> None:
    """Delete sessions that have expired, which Django never does by itself."""
    from portal.accounts import sessions

    sessions.clear_expired()

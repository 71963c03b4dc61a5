"""Work of the `jobs` process: doors to activities."""

from portal.celery import app


@app.task(name="billing.measure_recent")
def measure_recent() -> None:
    """Measure the listings that are being called."""
    from billing import measuring

    measuring.measure_recent()


@app.task(name="billing.measure_known")
def measure_known() -> None:
    """Measure all that ever were, for time has passed."""
    from billing import measuring

    measuring.measure_known()


@app.task(name="billing.drop_expired_events")
def drop_expired_events() -> None:
    """Drop the single calls that the operator keeps no longer."""
    from billing import retention

    retention.drop_expired()

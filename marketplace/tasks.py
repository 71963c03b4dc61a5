"""Work of the `jobs` process: doors to activities."""

from portal.celery import app


@app.task(name="marketplace.refresh_prominence")
def refresh_prominence() -> None:
    """Keep the newest and most called listings where searches look first."""
    from marketplace import prominence

    prominence.refresh()


@app.task(name="marketplace.rebuild_cards")
def rebuild_cards() -> None:
    """Make the HTML of cards again that another release rendered otherwise."""
    from marketplace import cards

    cards.rebuild()

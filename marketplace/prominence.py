"""Which listings are prominent: the newest and the most called.

Their words have indexes of their own, twenty times smaller than the whole catalogue's where that is large: a search
for common words finds enough matches there, and better ones than the first that come. (A tiered index; Manning,
Raghavan and Schuetze, Introduction to Information Retrieval, 7.2.1.)
"""

from django.db import connection, transaction

# Of the newest, and as many of the most called.
MOST = 50_000

_LIVE = "published_at IS NOT NULL AND withdrawn_at IS NULL AND taken_down_at IS NULL"
_WANTED = f"""
    CREATE TEMP TABLE wanted AS
    (SELECT id FROM marketplace_listing WHERE {_LIVE} ORDER BY published_at DESC, id DESC LIMIT %(most)s)
    UNION (
        SELECT listing_id FROM marketplace_figures JOIN marketplace_listing listing ON listing.id = listing_id AND {_LIVE}
        ORDER BY calls DESC, listing_id DESC LIMIT %(most)s
    )
"""  # noqa: S608 (a constant of this module)
_PROMOTE = """
    UPDATE marketplace_listing listing SET prominent = true FROM wanted WHERE wanted.id = listing.id AND NOT prominent
"""
# A draft stays as it is: once published it is one of the newest.
_DEMOTE = """
    UPDATE marketplace_listing listing SET prominent = false
    WHERE prominent AND published_at IS NOT NULL AND NOT EXISTS (SELECT FROM wanted WHERE wanted.id = listing.id)
"""


def refresh(*, most: int = MOST) -> None:
    """Take note of who has become prominent, and who is no more. Every hour; one that runs is not joined by another."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtext('marketplace.prominence'))")
        if not cursor.fetchone()[0]:
            return
        cursor.execute(_WANTED, {"most": most})
        cursor.execute(_PROMOTE)
        cursor.execute(_DEMOTE)
        cursor.execute("DROP TABLE wanted")

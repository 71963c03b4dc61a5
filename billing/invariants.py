"""What must hold of the books at every quiet moment. Run by `manage.py check_invariants`."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, ClassVar, Protocol

from django.db import connection

from billing import invoicing, rating, retention
from billing.models import BillingPeriod


@dataclass(frozen=True, slots=True)
class Violation:
    """`what` is broken, and by how much."""

    invariant: str
    what: str


class Invariant(Protocol):
    """A named truth about the books."""

    name: ClassVar[str]

    def violations(self) -> Iterator[str]:
        """One sentence per breach."""
        ...


class SumsToZero:
    """Every ledger transaction balances in every currency."""

    name: ClassVar[str] = "ledger transactions sum to zero"

    def violations(self) -> Iterator[str]:
        for key, currency, total in _rows("""
            SELECT posting.key, account.currency, sum(entry.amount)
            FROM billing_ledgerentry entry
            JOIN billing_ledgertransaction posting ON posting.id = entry.transaction_id
            JOIN billing_ledgeraccount account ON account.id = entry.account_id
            GROUP BY posting.id, posting.key, account.currency HAVING sum(entry.amount) <> 0"""):
            yield f"{key} is off by {total} {currency}"


class LinesEqualEvents:
    """Every rated line is what its period's events come to when rated again."""

    name: ClassVar[str] = "rated lines equal their events"

    def violations(self) -> Iterator[str]:
        # A period whose first calls were dropped cannot be rated again.
        whole = BillingPeriod.objects.filter(starts__gte=_kept_from() + timedelta(days=1))
        for period in whole.select_related("subscription", "plan_version").iterator():
            stored = {line.meter: invoicing.Rebuilt(line.units, line.charge) for line in period.lines.all()}
            rebuilt = invoicing.rebuild(period)
            if stored != rebuilt:
                yield f"period {period.pk}: stored {stored}, rebuilt {rebuilt}"


class RollupsEqualEvents:
    """Rollups sum to the events, per organisation and listing."""

    name: ClassVar[str] = "rollups equal events"

    def violations(self) -> Iterator[str]:
        for organisation, listing, rolled, counted in _rows(
            """
            SELECT organisation_id, listing_id, rolled.sums, counted.sums FROM (
                SELECT organisation_id, listing_id, ARRAY[sum(requests), sum(failed), sum(input_tokens),
                    sum(output_tokens), sum(cached_tokens), sum(images), sum(compute_ms), sum(charge)] sums
                FROM billing_usagerollup WHERE hour >= %(kept)s GROUP BY 1, 2) rolled
            FULL JOIN (
                SELECT organisation_id, listing_id, ARRAY[
                    coalesce(sum(requests) FILTER (WHERE answered), 0), count(*) FILTER (WHERE NOT answered),
                    coalesce(sum(input_tokens) FILTER (WHERE answered), 0),
                    coalesce(sum(output_tokens) FILTER (WHERE answered), 0),
                    coalesce(sum(cached_tokens) FILTER (WHERE answered), 0),
                    coalesce(sum(images) FILTER (WHERE answered), 0),
                    coalesce(sum(compute_ms) FILTER (WHERE answered), 0), sum(charge)] sums
                FROM (SELECT *, outcome <> 'failed' answered FROM usage_event WHERE finished_at >= %(kept)s) event
                GROUP BY 1, 2) counted
            USING (organisation_id, listing_id) WHERE rolled.sums IS DISTINCT FROM counted.sums""",
            kept=_kept_from(),
        ):
            yield f"organisation {organisation}, listing {listing}: rolled up {rolled}, counted {counted}"


class KeyDaysEqualEvents:
    """What keys' budgets count as spent is what their calls were charged."""

    name: ClassVar[str] = "keys' days equal events"

    def violations(self) -> Iterator[str]:
        for key, counted, charged in _rows(
            """
            SELECT api_key_id, coalesce(day.sum, 0), coalesce(event.sum, 0)
            FROM (SELECT api_key_id, sum(charge) FROM billing_keyday WHERE day >= %(kept)s GROUP BY 1) day
            FULL JOIN (SELECT api_key_id, sum(charge) FROM usage_event
                WHERE api_key_id IS NOT NULL AND id >= usage_event_first_id(%(kept)s::date) GROUP BY 1) event
                USING (api_key_id)
            WHERE coalesce(day.sum, 0) <> coalesce(event.sum, 0)""",
            kept=_kept_from(),
        ):
            yield f"key {key}: counted {counted}, charged {charged}"


class DaysEqualHours:
    """The sums of days are those of their hours, per organisation and listing."""

    name: ClassVar[str] = "days equal hours"

    def violations(self) -> Iterator[str]:
        sums = """ARRAY[sum(requests), sum(failed), sum(input_tokens), sum(output_tokens), sum(cached_tokens), sum(images),
            sum(compute_ms), sum(charge), sum(commission)]"""
        for organisation, listing, day, days, hours in _rows(f"""
            SELECT organisation_id, listing_id, day, days.sums, hours.sums FROM (
                SELECT organisation_id, listing_id, day, {sums} sums FROM billing_dailyusage GROUP BY 1, 2, 3) days
            FULL JOIN (
                SELECT organisation_id, listing_id, date_trunc('day', hour, 'UTC') AS day, {sums} sums
                FROM billing_usagerollup GROUP BY 1, 2, 3) hours
            USING (organisation_id, listing_id, day) WHERE days.sums IS DISTINCT FROM hours.sums"""):  # noqa: S608
            yield f"organisation {organisation}, listing {listing}, {day}: days {days}, hours {hours}"


class EarnedDaysEqualHours:
    """What providers see as earned is what the sums of their consumers' hours say, per listing and day."""

    name: ClassVar[str] = "earned days equal hours"

    def violations(self) -> Iterator[str]:
        sums = "ARRAY[sum(requests), sum(charge), sum(commission)]"
        for listing, day, days, hours in _rows(f"""
            SELECT listing_id, day, days.sums, hours.sums
            FROM (SELECT listing_id, day, {sums} sums FROM billing_earnedday GROUP BY 1, 2) days
            FULL JOIN (
                SELECT listing_id, date_trunc('day', hour, 'UTC') AS day, {sums} sums
                FROM billing_usagerollup GROUP BY 1, 2) hours
            USING (listing_id, day) WHERE days.sums IS DISTINCT FROM hours.sums"""):  # noqa: S608
            yield f"listing {listing}, {day}: days {days}, hours {hours}"


class GrossIsSplit:
    """Per period the lines, the period's gross and the ledger's entries say the same usage, the ledger has the
    flat fee once, and both together are the provider's share and the commission.
    """

    name: ClassVar[str] = "gross = provider's share + commission"

    def violations(self) -> Iterator[str]:
        for period, usage, commission, fee, basis_points, lines, used, fees, shared, kept in _rows("""
            SELECT period.id, period.gross, period.commission, terms.monthly_fee, period.commission_basis_points,
                coalesce((SELECT sum(charge) FROM billing_ratedline WHERE period_id = period.id), 0),
                coalesce(sum(entry.amount) FILTER (WHERE account.kind = 'receivable' AND posting.kind = 'usage'), 0),
                coalesce(sum(entry.amount) FILTER (WHERE account.kind = 'receivable' AND posting.kind = 'fee'), 0),
                -coalesce(sum(entry.amount) FILTER (WHERE account.kind IN ('payable', 'held')), 0),
                -coalesce(sum(entry.amount) FILTER (WHERE account.kind = 'commission'), 0)
            FROM billing_billingperiod period
            JOIN marketplace_planversion terms ON terms.id = period.plan_version_id
            LEFT JOIN billing_ledgertransaction posting
                ON posting.period_id = period.id AND posting.kind IN ('usage', 'fee')
            LEFT JOIN billing_ledgerentry entry ON entry.transaction_id = posting.id
            LEFT JOIN billing_ledgeraccount account ON account.id = entry.account_id
            GROUP BY period.id, terms.id"""):
            commission += rating.share(fee, basis_points=basis_points)
            if (
                not usage == lines == used
                or fee != fees
                or usage + fee != shared + kept
                or commission != kept
            ):
                yield (
                    f"period {period}: gross {usage} + fee {fee}, lines {lines}, receivable {used} + fee {fees}, "
                    f"share {shared} + commission {kept} (should be {commission})"
                )


class HeldIsOwed:
    """What is held of each provider is what its calls that nobody has decided on brought it."""

    name: ClassVar[str] = "held earnings equal their calls"

    def violations(self) -> Iterator[str]:
        for provider, currency, booked, waiting in _rows("""
            SELECT provider_id, currency, coalesce(booked.sum, 0), coalesce(waiting.sum, 0)
            FROM (SELECT account.organisation_id AS provider_id, account.currency, -sum(entry.amount) AS sum
                FROM billing_ledgerentry entry JOIN billing_ledgeraccount account ON account.id = entry.account_id
                WHERE account.kind = 'held' GROUP BY 1, 2) booked
            FULL JOIN (SELECT provider_id, currency, sum(charge - commission) FROM billing_heldearning
                WHERE state = 'held' GROUP BY 1, 2) waiting USING (provider_id, currency)
            WHERE coalesce(booked.sum, 0) <> coalesce(waiting.sum, 0)"""):
            yield f"provider {provider}: booked as held {booked} {currency}, waiting {waiting}"


ALL: tuple[Invariant, ...] = (
    SumsToZero(),
    LinesEqualEvents(),
    RollupsEqualEvents(),
    KeyDaysEqualEvents(),
    DaysEqualHours(),
    EarnedDaysEqualHours(),
    GrossIsSplit(),
    HeldIsOwed(),
)


def check(invariants: Iterable[Invariant] = ALL) -> list[Violation]:
    """Every breach found. Usage still on the stream is no breach: each batch is recorded whole."""
    return [Violation(invariant.name, what) for invariant in invariants for what in invariant.violations()]


def _kept_from() -> datetime:
    """Since when events are all there."""
    day = retention.kept_from()
    return datetime.combine(day, time.min, UTC) if day else datetime.min.replace(year=1970, tzinfo=UTC)


def _rows(query: str, **values: Any) -> Iterator[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, values or None)
        yield from cursor.fetchall()

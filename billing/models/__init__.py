"""The books: periods, leases, usage facts, their price and the ledger."""

from billing.models.event import Outcome, UsageEvent
from billing.models.lease import Lease, LeaseGrant
from billing.models.ledger import LedgerAccount, LedgerEntry, LedgerTransaction
from billing.models.period import BillingPeriod
from billing.models.usage import DailyUsage, RatedLine, UsageRollup

__all__ = [
    "BillingPeriod", "DailyUsage", "Lease", "LeaseGrant", "LedgerAccount", "LedgerEntry", "LedgerTransaction", "Outcome",
    "RatedLine", "UsageEvent", "UsageRollup",
]  # fmt: skip

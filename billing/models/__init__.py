"""The books: periods, leases, budgets, usage facts, their price and the ledger."""

from billing.models.budget import BudgetLease, KeyDay
from billing.models.event import Outcome, UsageEvent
from billing.models.held import HeldEarning
from billing.models.lease import Lease, LeaseGrant
from billing.models.ledger import LedgerAccount, LedgerEntry, LedgerTransaction
from billing.models.period import BillingPeriod
from billing.models.retention import EventRetention
from billing.models.usage import DailyUsage, EarnedDay, RatedLine, UsageRollup

__all__ = [
    "BillingPeriod", "BudgetLease", "DailyUsage", "EarnedDay", "EventRetention", "HeldEarning", "KeyDay", "Lease",
    "LeaseGrant", "LedgerAccount", "LedgerEntry", "LedgerTransaction", "Outcome",
    "RatedLine", "UsageEvent", "UsageRollup",
]  # fmt: skip

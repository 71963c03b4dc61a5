"""Double entry, append-only: triggers refuse unbalanced transactions and any change."""

from django.db import models
from django.db.models import Q

from billing.models.period import BillingPeriod
from portal.accounts.models import Organisation
from portal.kit import clock, ids


class LedgerAccount(models.Model):
    """One kind of balance of one organisation, or of the marketplace itself, in one currency."""

    class Kind(models.TextChoices):
        RECEIVABLE = "receivable", "Owed by a consumer"
        PAYABLE = "payable", "Owed to a provider"
        HELD = "held", "A provider's, held back"
        COMMISSION = "commission", "The marketplace's commission"

    id = models.UUIDField(primary_key=True, default=ids.uuid7, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, null=True, related_name="+")
    kind = models.CharField(max_length=16, choices=Kind.choices)
    currency = models.CharField(max_length=3)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organisation", "kind", "currency"], name="account_once", nulls_distinct=False
            ),
            models.CheckConstraint(
                condition=Q(kind="commission", organisation=None)
                | ~Q(kind="commission") & ~Q(organisation=None),
                name="commission_is_the_marketplaces",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.currency}"


class LedgerTransaction(models.Model):
    """Entries that sum to zero per currency. `key` makes posting idempotent; a correction `reverses` another."""

    id = models.UUIDField(primary_key=True, default=ids.uuid7, editable=False)
    key = models.CharField(max_length=120, unique=True)
    kind = models.CharField(max_length=24)
    period = models.ForeignKey(BillingPeriod, on_delete=models.PROTECT, null=True, related_name="+")
    reverses = models.OneToOneField("self", on_delete=models.PROTECT, null=True, related_name="reversal")
    reason = models.CharField(max_length=240, blank=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        # The few that are no usage: flat fees and what operators post.
        indexes = [
            models.Index(
                fields=["kind", "created_at"], name="transaction_by_kind", condition=~Q(kind="usage")
            )
        ]

    def __str__(self) -> str:
        return self.key


class LedgerEntry(models.Model):
    """Micro-minor units into (positive, debit) or out of (negative, credit) an account."""

    id = models.BigAutoField(primary_key=True)
    transaction = models.ForeignKey(LedgerTransaction, on_delete=models.PROTECT, related_name="entries")
    # Its index carries the amount, so that a balance reads no rows.
    account = models.ForeignKey(
        LedgerAccount, on_delete=models.PROTECT, related_name="entries", db_index=False
    )
    amount = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["transaction", "account"], name="entry_once_per_account"),
            models.CheckConstraint(condition=~Q(amount=0), name="entry_moves_money"),
        ]
        indexes = [models.Index(fields=["account"], include=["amount"], name="entry_by_account")]

    def __str__(self) -> str:
        return str(self.amount)

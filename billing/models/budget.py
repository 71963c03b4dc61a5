"""What keys have spent, and how much of their budgets Postgres has granted to Redis."""

from django.db import models
from django.db.models import F, Q

from portal.accounts.models import ApiKey
from portal.kit import clock, ids


class KeyDay(models.Model):
    """Charges of one key's calls of one UTC day, counted by the day of their admission: the day of the budget
    in which they were held. Days and months of budgets are whole days, so they are sums of these.
    """

    id = models.BigAutoField(primary_key=True)
    api_key = models.ForeignKey(ApiKey, on_delete=models.PROTECT, related_name="+")
    day = models.DateField()
    charge = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["api_key", "day"], name="key_day_once"),
        ]

    def __str__(self) -> str:
        return f"{self.charge} on {self.day}"


class BudgetLease(models.Model):
    """The right of one run of Redis to spend from one window of a key's budget.

    `granted` is how far, counted from the window's first day; `forfeited` what a lost lease had been granted
    and never accounted for: nobody pays for it and nobody can spend it.
    """

    id = models.UUIDField(primary_key=True, default=ids.uuid7, editable=False)
    api_key = models.ForeignKey(ApiKey, on_delete=models.PROTECT, related_name="+")
    span = models.CharField(max_length=5, choices=[("total", "Total"), ("day", "Day"), ("month", "Month")])
    first_day = models.DateField()
    run = models.CharField(max_length=40, help_text="Redis' run id.")
    granted = models.BigIntegerField()
    forfeited = models.BigIntegerField(default=0)
    opened_at = models.DateTimeField(default=clock.now, editable=False)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["api_key", "span", "first_day"],
                condition=Q(closed_at=None),
                name="one_open_budget_lease",
            ),
            models.CheckConstraint(
                condition=Q(granted__gte=0, forfeited__gte=0, forfeited__lte=F("granted")),
                name="budget_lease_sane",
            ),
        ]
        indexes = [models.Index(fields=["api_key", "span", "first_day"], name="budget_lease_by_window")]

    def __str__(self) -> str:
        return f"{self.granted} of a key's {self.span}"

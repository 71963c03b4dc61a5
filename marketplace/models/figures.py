"""What the catalogue sorts and filters by beside a listing's own facts."""

from django.db import models
from django.db.models import F

from marketplace.models.listing import Listing


class Figures(models.Model):
    """Kept beside each listing that was ever published, because sorting a million listings by what must first be
    looked up for each takes minutes. Size and prices change with the listing (`marketplace.figures`); what its
    calls were like is measured every minute (`billing.measuring`).

    `monthly_fee`, `unit_price` (the dearest of its prices of a million units, rounded up) and `token_rate` (the
    dearest of those of tokens; null where it prices other things alone) are the cheapest open plan's, as
    `marketplace.figures` says; null without a plan. Micro-minor units. `calls` were answered in 30 days.
    """

    listing = models.OneToOneField(
        Listing, on_delete=models.CASCADE, primary_key=True, related_name="figures"
    )
    parameter_count = models.BigIntegerField(default=0)
    monthly_fee = models.BigIntegerField(null=True)
    unit_price = models.BigIntegerField(null=True)
    token_rate = models.BigIntegerField(null=True)
    calls = models.BigIntegerField(default=0)
    tokens_per_1000_s = models.BigIntegerField(null=True)
    ttft_ms = models.BigIntegerField(null=True)

    class Meta:
        indexes = [
            models.Index(F("parameter_count"), F("listing"), name="figures_by_size"),
            models.Index(
                F("monthly_fee").asc(nulls_last=True), F("unit_price").asc(nulls_last=True), F("listing").desc(),
                name="figures_by_price",
            ),
            models.Index(F("token_rate"), name="figures_by_token_rate"),
            models.Index(F("calls").desc(), F("listing").desc(), name="figures_by_calls"),
            models.Index(F("tokens_per_1000_s").desc(nulls_last=True), F("listing").desc(), name="figures_by_speed"),
            models.Index(F("ttft_ms").asc(nulls_last=True), F("listing").desc(), name="figures_by_ttft"),
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"figures of {self.listing_id}"

    @property
    def speed(self) -> float | None:
        """Output tokens a second."""
        return None if self.tokens_per_1000_s is None else self.tokens_per_1000_s / 1000

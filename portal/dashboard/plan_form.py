"""Prices as providers type them: per million tokens, per thousand images."""

from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from django import forms
from django.conf import settings
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from marketplace.models import Meter, Plan, PlanVersion
from marketplace.pricing import METERS, Component
from marketplace.templatetags.prices import QUOTED_PER, meter_name
from portal.kit import money


class MeterRow(NamedTuple):
    """The two fields of a meter, for the template."""

    meter: str
    name: str
    quoted: str
    quantity: int
    included: forms.BoundField
    price: forms.BoundField


class PlanForm(forms.Form):
    """A plan's terms for one task. `terms()` gives them as `marketplace.pricing` takes them."""

    kind = forms.ChoiceField(
        label=gettext_lazy("Kind"), widget=forms.RadioSelect, initial=Plan.Kind.MIXED,
        choices=[
            (Plan.Kind.FREE, gettext_lazy("Free: calls stop when the included units are used up")),
            (Plan.Kind.PAID, gettext_lazy("Paid: a monthly fee, a price per use, or both")),
            (Plan.Kind.MIXED, gettext_lazy("Mixed: some units included, the rest at a price")),
        ],
    )  # fmt: skip
    name = forms.CharField(label=gettext_lazy("Name"), max_length=60)
    monthly_fee = forms.DecimalField(
        label=gettext_lazy("Monthly fee"), min_value=0, initial=0, decimal_places=2
    )
    requests_per_minute = forms.IntegerField(label=gettext_lazy("Requests a minute"), min_value=0, initial=60)
    tokens_per_minute = forms.IntegerField(label=gettext_lazy("Tokens a minute"), min_value=0, initial=0)
    concurrent_requests = forms.IntegerField(label=gettext_lazy("Requests at a time"), min_value=0, initial=8)

    def __init__(
        self, data: Mapping[str, Any] | None = None, *, task: str, revises: PlanVersion | None = None
    ) -> None:
        super().__init__(data, initial=_initial(revises))
        self._meters = [meter for meter in Meter if meter in METERS[task]]
        for meter in self._meters:
            self.fields[f"{meter}_included"] = forms.IntegerField(
                min_value=0, required=False, label=_("Included")
            )
            self.fields[f"{meter}_price"] = forms.DecimalField(min_value=0, required=False, label=_("Price"))
        if revises:
            del self.fields["kind"], self.fields["name"]

    @property
    def meter_rows(self) -> Iterator[MeterRow]:
        for meter in self._meters:
            quantity, quoted = QUOTED_PER[meter]
            fields = self[f"{meter}_included"], self[f"{meter}_price"]
            yield MeterRow(meter, meter_name(meter), str(quoted), quantity, *fields)

    @property
    def slug(self) -> str:
        return slugify(self.cleaned_data["name"])[:40] or "plan"

    def terms(self) -> dict[str, Any]:
        """The fields of `pricing.Terms`. Raises `ValidationError` for a price finer than a micro-minor unit."""
        limits = ("requests_per_minute", "tokens_per_minute", "concurrent_requests")
        fee = money.from_major(self.cleaned_data["monthly_fee"], settings.CURRENCY).amount
        components = [found for meter in self._meters if (found := self._component(meter))]
        return {"monthly_fee": fee, "components": components} | {
            name: self.cleaned_data[name] for name in limits
        }

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        for meter in self._meters:
            price = cleaned.get(f"{meter}_price")
            if price is not None and _per_unit(meter, price) is None:
                self.add_error(f"{meter}_price", _("This price is too fine to be counted exactly."))
        return cleaned

    def _component(self, meter: Meter) -> Component | None:
        included = self.cleaned_data.get(f"{meter}_included") or 0
        price = self.cleaned_data.get(f"{meter}_price")
        if price is None and not included:
            return None
        if price is None:
            return Component(meter=meter, included=included, amount=None)
        amount, per = _per_unit(meter, price) or (0, 1)
        return Component(meter=meter, included=included, amount=amount, per=per)


def _per_unit(meter: Meter, price: Decimal) -> tuple[int, int] | None:
    """The quoted price as micro-minor units per the quoted quantity, or None if it is finer than that."""
    quantity, _words = QUOTED_PER[meter]
    try:
        return money.from_major(price, settings.CURRENCY).amount, quantity
    except (ValueError, InvalidOperation):
        return None


def _initial(version: PlanVersion | None) -> dict[str, Any]:
    if version is None:
        return {}
    found: dict[str, Any] = {
        name: getattr(version, name)
        for name in ("requests_per_minute", "tokens_per_minute", "concurrent_requests")
    }
    found["monthly_fee"] = money.Money(version.monthly_fee, version.currency).major()
    for component in version.components.all():
        found[f"{component.meter}_included"] = component.included or None
        if component.amount is not None:
            quantity, _words = QUOTED_PER[Meter(component.meter)]
            quoted = money.Money(component.amount * quantity // component.per, version.currency)
            found[f"{component.meter}_price"] = quoted.major()
    return found

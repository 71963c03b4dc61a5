"""What people type, checked for shape; the activities check the rest."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django import forms
from django.utils.translation import gettext_lazy as _

from marketplace.cards import MAX_CHARACTERS
from marketplace.models import Task
from portal.accounts.key_limits import BUDGETS, MOST_A_MINUTE, RATES, KeyLimits
from portal.accounts.models import Organisation, Role, Scope
from portal.dashboard import wording
from portal.dashboard.vocabulary import translated
from portal.kit import clock, money
from portal.kit.errors import PortalError

Done = TypeVar("Done")
NAME_HINT = _("Lower-case letters, digits and hyphens. It is part of the address and cannot change.")


def attempt(form: forms.Form, work: Callable[[], Done]) -> Done | None:
    """The activity's result, or None with its refusal shown in the form."""
    try:
        return work()
    except PortalError as refusal:
        form.add_error(None, wording.explain(refusal))
        return None


class LimitsForm(forms.Form):
    """How fast a key may call, and what its calls may cost. Money as people write it; nothing is no limit."""

    requests_per_minute = forms.IntegerField(
        label=_("Requests a minute"), min_value=1, max_value=MOST_A_MINUTE, required=False
    )
    tokens_per_minute = forms.IntegerField(
        label=_("Tokens a minute"), min_value=1, max_value=MOST_A_MINUTE, required=False
    )
    concurrent_requests = forms.IntegerField(
        label=_("Requests at a time"), min_value=1, max_value=MOST_A_MINUTE, required=False
    )
    daily_budget = forms.DecimalField(label=_("Budget a day"), min_value=0, required=False)
    monthly_budget = forms.DecimalField(label=_("Budget a month"), min_value=0, required=False)
    total_budget = forms.DecimalField(label=_("Budget in total"), min_value=0, required=False)

    def __init__(self, data: Mapping[str, Any] | None = None, *, of: KeyLimits | None = None) -> None:
        self._known = of or KeyLimits()
        super().__init__(data, initial=_limits_as_typed(self._known))
        for name in BUDGETS:
            self.fields[name].widget.attrs["step"] = "any"

    @property
    def currency(self) -> str:
        return self._known.budget_currency

    @property
    def rates(self) -> list[forms.BoundField]:
        return [self[name] for name in RATES]

    @property
    def budgets(self) -> list[forms.BoundField]:
        return [self[name] for name in ("daily_budget", "monthly_budget", "total_budget")]

    @property
    def has_errors_here(self) -> bool:
        return any(self.errors.get(name) for name in (*RATES, *BUDGETS))

    def limits(self) -> KeyLimits:
        """As `key_limits` takes them."""
        rates: dict[str, Any] = {name: self.cleaned_data[name] or 0 for name in RATES}
        amounts: dict[str, Any] = {name: self._amount(name) for name in BUDGETS}
        return KeyLimits(**rates, **amounts, budget_currency=self.currency)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        for name in BUDGETS:
            try:
                self._amount(name)
            except (ValueError, ArithmeticError):
                self.add_error(name, _("The limit must be an amount such as 25.00."))
        return cleaned

    def _amount(self, name: str) -> int | None:
        typed = self.cleaned_data.get(name)
        return None if typed is None else money.from_major(typed, self.currency).amount


class KeyForm(LimitsForm):
    """A new API key. Its limits are another part of the page."""

    EXPIRIES = [("", _("Never")), ("7", _("In 7 days")), ("30", _("In 30 days")), ("365", _("In a year"))]

    name = forms.CharField(
        label=_("Name"), max_length=80, help_text=_("What will use it, such as an app or a person.")
    )
    scopes = forms.MultipleChoiceField(
        label=_("May"), widget=forms.CheckboxSelectMultiple, initial=[Scope.INFERENCE],
        choices=[(Scope.INFERENCE, _("Call models")), (Scope.MANAGE, _("Publish and manage through the API"))],
    )  # fmt: skip
    expires = forms.ChoiceField(label=_("Expires"), choices=EXPIRIES, required=False)
    field_order = ["name", "scopes", "expires"]

    @property
    def basics(self) -> list[forms.BoundField]:
        return [self[name] for name in ("name", "scopes", "expires")]

    @property
    def expires_at(self) -> datetime | None:
        days = self.cleaned_data["expires"]
        return clock.now() + timedelta(days=int(days)) if days else None


class MemberForm(forms.Form):
    """Someone who is asked to join the organisation."""

    email = forms.EmailField(
        label=_("E-mail address"), help_text=_("They get a mail, and join once they accept.")
    )
    role = forms.ChoiceField(
        label=_("Role"), initial=Role.DEVELOPER,
        choices=[
            (Role.DEVELOPER, _("Developer: call models, publish")),
            (Role.BILLING, _("Billing: subscribe and pay")),
            (Role.VIEWER, _("Viewer: look only")),
            (Role.ADMIN, _("Admin: everything but owners")),
            (Role.OWNER, _("Owner: everything")),
        ],
    )  # fmt: skip


class OrganisationForm(forms.Form):
    """A further organisation."""

    name = forms.CharField(label=_("Name"), max_length=120)
    slug = forms.SlugField(label=_("Address"), max_length=64, help_text=NAME_HINT)
    kind = forms.ChoiceField(
        label=_("Kind"), initial=Organisation.Kind.COMPANY,
        choices=[
            (Organisation.Kind.COMPANY, _("Company")),
            (Organisation.Kind.ENTERPRISE, _("Enterprise")),
            (Organisation.Kind.INDIVIDUAL, _("Individual")),
        ],
    )  # fmt: skip


class ListingForm(forms.Form):
    """What the product page says."""

    name = forms.CharField(label=_("Name"), max_length=120)
    summary = forms.CharField(
        label=_("Summary"), max_length=240, required=False, help_text=_("One sentence for the catalogue.")
    )
    licence = forms.CharField(
        label=_("Licence"), max_length=64, required=False, help_text=_("Such as apache-2.0.")
    )
    languages = forms.CharField(
        label=_("Languages"),
        max_length=200,
        required=False,
        help_text=_("Codes with commas, such as en, zh."),
    )
    tags = forms.CharField(label=_("Tags"), max_length=300, required=False, help_text=_("Words with commas."))
    card = forms.CharField(
        label=_("Model card"), max_length=MAX_CHARACTERS, required=False,
        widget=forms.Textarea(attrs={"rows": 14, "spellcheck": "true"}),
        help_text=_("Markdown. Left empty, the README of the first upload becomes the card."),
    )  # fmt: skip

    def described(self) -> dict[str, Any]:
        """The fields as `publishing` takes them."""
        return {name: self.cleaned_data[name] for name in self.cleaned_data if name not in ("slug", "task")}

    def clean_languages(self) -> list[str]:
        return _listed(self.cleaned_data["languages"])

    def clean_tags(self) -> list[str]:
        return _listed(self.cleaned_data["tags"])


class NewListingForm(ListingForm):
    """A listing that does not exist yet: its address and task are chosen once."""

    slug = forms.SlugField(label=_("Address"), max_length=64, help_text=NAME_HINT)
    task = forms.ChoiceField(label=_("Task"), choices=lambda: translated(Task.choices))
    field_order = ["name", "slug", "task", "summary", "licence", "languages", "tags", "card"]


def _limits_as_typed(limits: KeyLimits) -> dict[str, Any]:
    typed: dict[str, Any] = {name: getattr(limits, name) or None for name in RATES}
    for name in BUDGETS:
        amount = getattr(limits, name)
        typed[name] = None if amount is None else money.Money(amount, limits.budget_currency).major()
    return typed


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]

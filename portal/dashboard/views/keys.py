"""API keys: made, shown once, revoked."""

from collections.abc import Sequence
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from billing import budgets
from portal.accounts import api_keys, key_limits
from portal.accounts.models import ApiKey, Organisation
from portal.dashboard.acting import actor
from portal.dashboard.forms import KeyForm, LimitsForm, attempt
from portal.kit import clock
from portal.kit.errors import NotFound
from portal.kit.exports import csv_of
from portal.kit.tables import Column, Table, containing


def key_table(organisation: Organisation, request: HttpRequest) -> Table:
    """The organisation's keys, newest first."""
    columns = [
        Column("name", _("Name"), sort="name", template="console/cells/key_name.html"),
        Column("public_id", _("Id"), kind="id"),
        Column("scopes", _("May"), template="console/cells/key_scopes.html", export="words"),
        Column("is_limited", _("Limits"), template="console/cells/key_limits.html", export="words"),
        Column("created_at", _("Made"), kind="time", sort="created_at"),
        Column("expires_at", _("Expires"), kind="time"),
        Column("holder.email", _("Holder")),
        Column("is_live", _("State"), template="console/cells/key_state.html", export="words"),
        Column("pk", "", template="console/cells/key_actions.html"),
    ]
    rows = api_keys.with_holders(ApiKey.objects.filter(organisation=organisation))
    return Table(rows, columns, query=request.GET, search=containing("name", "last_four"))


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def keys(request: HttpRequest) -> HttpResponse:
    """The keys and the form for a new one; its text is in the answer to the form alone."""
    acting = actor(request)
    table = key_table(acting.organisation, request)
    if request.GET.get("format") == "csv":
        return csv_of(table, name="keys", prepare=_add_standings)
    form = KeyForm(request.POST or None)
    context = {
        "table": table,
        "form": form,
        "may_make": acting.may("use"),
        "base_url": f"{settings.PUBLIC_URL}/v1",
    }
    if request.method == "POST" and form.is_valid():
        fields = form.cleaned_data
        issued = attempt(form, lambda: api_keys.issue(
            acting.organisation, by=acting.user, name=fields["name"], scopes=fields["scopes"],
            expires_at=form.expires_at, limits=form.limits(),
        ))  # fmt: skip
        if issued:
            context |= {"new_key": issued[0], "secret": issued[1], "form": KeyForm()}
    _add_standings(table.page)
    return render(request, "console/keys.html", context)


def _add_standings(keys: Sequence[ApiKey]) -> None:
    """How their budgets stand, and they themselves, for the cells that say it."""
    standings = budgets.standings(keys, clock.now())
    for key in keys:
        state = api_keys.state_of(key)
        dormancy = api_keys.find_dormancy(key) if state == "dormant" else None
        vars(key).update(standings=standings.get(key.pk, []), state=state, dormancy=dormancy)


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def limits(request: HttpRequest, key_id: UUID) -> HttpResponse:
    """What a key may do and spend, how much of it is left, and the form that changes it."""
    acting = actor(request, "use")
    key = ApiKey.objects.filter(organisation=acting.organisation, pk=key_id, revoked_at=None).first()
    if key is None:
        raise NotFound(what="key")
    form = LimitsForm(request.POST or None, of=key_limits.of(key))
    if request.method == "POST" and form.is_valid():
        changed = attempt(form, lambda: key_limits.change(
            acting.organisation, by=acting.user, key_id=key.pk, limits=form.limits()
        ))  # fmt: skip
        if changed:
            messages.success(
                request, _("The new limits of %(key)s hold from its next call on.") % {"key": key.name}
            )
            return redirect("console_keys")
    standings = budgets.standings([key], clock.now()).get(key.pk, [])
    return render(request, "console/key_limits.html", {"key": key, "form": form, "standings": standings})


@login_required
@require_POST
def revoke(request: HttpRequest, key_id: UUID) -> HttpResponse:
    acting = actor(request, "use")
    key = api_keys.revoke(acting.organisation, by=acting.user, key_id=key_id)
    messages.success(
        request, _("%(key)s is revoked: calls with it are refused from now on.") % {"key": key.name}
    )
    return redirect("console_keys")

"""Members and their roles; further organisations; for whom to act."""

from collections import Counter
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from portal.accounts import current, invitations, key_handover, membership
from portal.accounts.membership import ALLOWED, KeyFate
from portal.accounts.models import Membership, Role, User
from portal.dashboard.acting import actor
from portal.dashboard.forms import MemberForm, OrganisationForm, attempt
from portal.dashboard.vocabulary import translated
from portal.kit.errors import NotFound
from portal.kit.exports import csv_of
from portal.kit.tables import Choice, Column, Table, containing


def _role(member: Membership) -> str:
    return _(member.get_role_display())


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def members(request: HttpRequest) -> HttpResponse:
    acting = actor(request)
    columns = [
        Column("user.email", _("Member"), sort="user__email", template="organisation/cells/member.html"),
        Column("role", _("Role"), sort="role", template="organisation/cells/role.html", export=_role),
        Column("created_at", _("Since"), kind="time", sort="created_at"),
        Column("pk", "", template="organisation/cells/remove.html"),
    ]
    rows = Membership.objects.filter(organisation=acting.organisation).select_related("user", "organisation")
    table = Table(
        rows, columns, query=request.GET, order="created_at", search=containing("user__email", "user__name"),
        choices=[Choice("role", _("Role"), "role", translated(Role.choices))],
    )  # fmt: skip
    if request.GET.get("format") == "csv":
        return csv_of(table, name="members")
    form = MemberForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        invitation = attempt(
            form, lambda: invitations.invite(acting.organisation, by=acting.user, **form.cleaned_data)
        )
        if invitation:
            messages.success(request, _("%(email)s is invited.") % {"email": invitation.email})
            return redirect("organisation")
    held = Counter(key_handover.holders(acting.organisation.pk))
    for row in table.page:
        row.key_count = held[row.user_id]
    heirs = [each for each in rows.filter(user__is_active=True) if "use" in ALLOWED[each.role]]
    context = {
        "table": table,
        "form": form,
        "heirs": heirs,
        "invitations": invitations.open_in(acting.organisation),
        "roles": translated(Role.choices),
        "acting": acting,
        "may_administer": acting.may("administer"),
    }
    return render(request, "organisation/members.html", context)


@login_required
@require_POST
def change_role(request: HttpRequest, membership_id: UUID) -> HttpResponse:
    acting = actor(request, "administer")
    changed = membership.change_role(
        acting.organisation, by=acting.user, membership_id=membership_id, role=request.POST.get("role", "")
    )
    messages.success(
        request, _("%(who)s is %(role)s now.") % {"who": changed.user, "role": _(changed.get_role_display())}
    )
    return redirect("organisation")


@login_required
@require_POST
def remove(request: HttpRequest, membership_id: UUID) -> HttpResponse:
    """With the choice of the form: what becomes of the keys that the member holds."""
    acting = actor(request)
    asked = request.POST.get("keys", "")
    membership.remove(
        acting.organisation, by=acting.user, membership_id=membership_id, keys=_read_fate(asked)
    )
    messages.success(request, _("The membership has ended."))
    return redirect("organisation")


def _read_fate(asked: str) -> KeyFate:
    """Raises `NotFound` for what names no membership."""
    if asked in ("", "revoke"):
        return "revoke" if asked else None
    try:
        return UUID(asked)
    except ValueError:
        raise NotFound(what="member") from None


@login_required
@require_POST
def retract(request: HttpRequest, invitation_id: UUID) -> HttpResponse:
    acting = actor(request, "administer")
    invitations.retract(acting.organisation, by=acting.user, invitation_id=invitation_id)
    messages.success(request, _("The invitation is taken back."))
    return redirect("organisation")


@login_required
@require_safe
def invited(request: HttpRequest) -> HttpResponse:
    """The invitations to the reader, at addresses that they have confirmed."""
    assert isinstance(request.user, User)
    return render(
        request, "organisation/invitations.html", {"invitations": invitations.open_to(request.user)}
    )


@login_required
@require_POST
def answer(request: HttpRequest, invitation_id: UUID) -> HttpResponse:
    """Accept, or decline."""
    assert isinstance(request.user, User)
    if not request.POST.get("accept"):
        invitations.decline(request.user, invitation_id)
        messages.success(request, _("The invitation is declined."))
        return redirect("organisation_invitations")
    member = invitations.accept(request.user, invitation_id)
    current.switch(request, member.organisation.slug)
    messages.success(request, _("You act for %(name)s now.") % {"name": member.organisation.name})
    return redirect("organisation")


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    form = OrganisationForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        opened = attempt(form, lambda: membership.open_organisation(request.user, **form.cleaned_data))  # type: ignore[arg-type]
        if opened:
            current.switch(request, opened.slug)
            messages.success(request, _("You act for %(name)s now.") % {"name": opened.name})
            return redirect("organisation")
    return render(request, "organisation/new.html", {"form": form})


@login_required
@require_POST
def switch(request: HttpRequest) -> HttpResponse:
    current.switch(request, request.POST.get("slug", ""))
    return redirect("console")

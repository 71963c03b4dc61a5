"""Operators see the whole shop, and withdraw."""

from pathlib import Path

import pytest
from django.conf import LazySettings
from django.urls import reverse

from marketplace import publishing, subscribing, uploads
from marketplace.models import Listing, Plan, PlanVersion, Subscription, Upload, Version
from tests.conftest import Cast
from tests.marketplace.conftest import keep
from tests.marketplace.test_publishing import free_plan, ready
from tests.marketplace.test_uploads import one

SHOWN = [Listing, Version, Plan, PlanVersion, Subscription, Upload]


@pytest.fixture(autouse=True)
def _plain_static_files(settings: LazySettings) -> None:
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }


@pytest.fixture
def live(cast: Cast, listing: Listing, model: Path) -> Listing:
    ready(listing, model, cast)
    plan = free_plan(listing, cast)
    publishing.publish(listing, by=cast.owner)
    subscribing.subscribe(cast.outsider.personal_organisation, plan, by=cast.outsider)
    uploads.begin(listing, by=cast.owner, files=one(b"x"))
    return listing


@pytest.mark.parametrize("model_class", SHOWN)
@pytest.mark.usefixtures("live")
def test_operators_see_lists_and_details(cast: Cast, model_class: type[Listing]) -> None:
    browser, name = cast.browser(cast.operator), model_class._meta.model_name
    assert browser.get(reverse(f"admin:marketplace_{name}_changelist") + "?q=tiny").status_code == 200
    address = reverse(f"admin:marketplace_{name}_change", args=[model_class.objects.get().pk])
    assert browser.get(address).status_code == 200
    assert browser.post(address, {"name": "Mine"}).status_code == 403
    assert cast.browser(cast.owner).get(address).status_code == 302


def test_the_report_is_shown_escaped(cast: Cast, listing: Listing, model: Path) -> None:
    version = publishing.add_version(listing, by=cast.owner, files=keep(model))
    finding = {"file": "<script>", "rule": "trial", "severity": "error", "message": "NaN", "remedy": ""}
    publishing.record_trial(version.pk, ok=False, findings=[finding])
    page = cast.browser(cast.operator).get(reverse("admin:marketplace_version_change", args=[version.pk]))
    assert b"&lt;script&gt;  trial: NaN" in page.content


def test_operators_take_down_with_a_reason_and_restore(cast: Cast, live: Listing) -> None:
    browser, address = cast.browser(cast.operator), reverse("admin:marketplace_listing_changelist")
    asked = {"action": "take_down", "_selected_action": [str(live.pk)]}
    page = browser.post(address, asked)
    assert b"Reason" in page.content
    live.refresh_from_db()
    assert live.is_live
    browser.post(address, asked | {"reason": "A stolen model."})
    live.refresh_from_db()
    assert (live.state, live.taken_down_by, live.taken_down_reason) == (
        "taken_down",
        cast.operator,
        "A stolen model.",
    )
    browser.post(address, asked | {"action": "restore"})
    live.refresh_from_db()
    assert live.is_live

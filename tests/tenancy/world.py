"""Acme's private things, each carrying a word that no outsider may ever read."""

from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from billing.models import UsageEvent
from marketplace.models import (
    EndpointTrial,
    Listing,
    Plan,
    PlanVersion,
    PriceComponent,
    Subscription,
    Upload,
    UploadFile,
    Version,
)
from portal.accounts import api_keys
from portal.accounts.models import ApiKey, Invitation, Membership
from portal.kit import clock
from tests.conftest import Cast
from tests.portal.dashboard.offers import record_calls

SECRET = "zanzibar"


@dataclass
class World:
    """Acme as a provider with a draft listing and as a consumer with a subscription."""

    cast: Cast
    listing: Listing
    version: Version
    plan: Plan
    upload: Upload
    subscription: Subscription
    key: ApiKey
    membership: Membership
    arguments: dict[str, object] = field(default_factory=dict)


def add_listing(cast: Cast, slug: str) -> tuple[Listing, Version, Plan]:
    """A draft listing of acme with a ready version and a mixed plan, all named by the secret."""
    listing = Listing.objects.create(
        organisation=cast.acme, slug=slug, name=f"{SECRET} listing", task="text-generation",
        created_by=cast.owner, card=f"# {SECRET}",
    )  # fmt: skip
    version = Version.objects.create(
        listing=listing, number=1, digest="0" * 64, task=listing.task, architecture="llama",
        weight_bytes=1, memory_bytes=1, state=Version.State.READY, notes=SECRET, created_by=cast.owner,
        report={"findings": [], "facts": {"note": SECRET}},
    )  # fmt: skip
    plan = Plan.objects.create(listing=listing, slug="mixed", name=f"{SECRET} plan", kind="mixed")
    terms = PlanVersion.objects.create(plan=plan, number=1, spend_cap=10**9)
    PriceComponent.objects.create(
        plan_version=terms, meter="output_tokens", included=10, amount=10**6, per=10
    )
    return listing, version, plan


def build(cast: Cast) -> World:
    """The private world of acme."""
    listing, version, plan = add_listing(cast, "hidden")
    taken, taken.current_version, taken_plan = add_listing(cast, "taken")
    subscription = Subscription.objects.create(
        organisation=cast.acme, listing=taken, plan_version=taken_plan.versions.get(), spend_cap=10**9,
        created_by=cast.owner,
    )  # fmt: skip
    upload = Upload.objects.create(
        listing=listing, created_by=cast.owner, expires_at=clock.now() + timedelta(hours=1), notes=SECRET
    )
    UploadFile.objects.create(upload=upload, path=f"{SECRET}.md", size=4, sha256="0" * 64)
    key, _ = api_keys.issue(cast.acme, by=cast.owner, name=f"{SECRET} key", scopes=["inference"])
    invitation = Invitation.objects.create(
        organisation=cast.acme, email="guest@example.com", role="viewer", invited_by=cast.owner,
        expires_at=clock.now() + timedelta(hours=1),
    )  # fmt: skip
    trial = EndpointTrial.objects.create(
        listing=listing, created_by=cast.owner, base_url=f"https://{SECRET}.example/v1", model=SECRET,
        seen={"ok": True, "message": SECRET, "shown": SECRET, "counts": ""},
    )  # fmt: skip
    membership = Membership.objects.get(organisation=cast.acme, user=cast.mate)
    world = World(cast, listing, version, plan, upload, subscription, key, membership)
    world.arguments = {
        "owner": "acme", "slug": "hidden", "number": 1, "plan": "mixed", "plan_slug": "mixed",
        "upload_id": upload.pk, "trial_id": trial.pk, "path": f"{SECRET}.md", "subscription_id": subscription.pk,
        "invitation_id": invitation.pk, "key_id": key.pk, "pk": key.pk, "request_id": _call(taken, taken_plan), "member_id": membership.pk, "membership_id": membership.pk,
    }  # fmt: skip
    return world


def _call(listing: Listing, plan: Plan) -> str:
    """The public id of a call that acme made."""
    record_calls(listing, 1, plan_version_id=plan.versions.get().pk, organisation_id=listing.organisation_id)
    return UsageEvent.objects.filter(listing=listing).latest("id").public_id


def identities(world: World) -> set[UUID]:
    """Ids that must not appear in an outsider's answers either."""
    return {world.key.pk, world.subscription.pk, world.upload.pk, world.membership.pk}

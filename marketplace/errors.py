"""What can go wrong between providers, listings and subscribers."""

from collections.abc import Mapping
from typing import ClassVar

from django.utils.translation import gettext_noop

from portal.kit.errors import Conflict, Invalid, NotFound, PortalError, Show, as_count, as_size


class ListingSlugTaken(Conflict):
    code = "slug_taken"
    message = gettext_noop(
        "{owner} has a listing {slug} already, or one that looks like it. Choose another slug."
    )


class NotPublishable(Conflict):
    code = "not_publishable"
    message = gettext_noop("{listing} cannot be published yet: {reason}")


class ListingWithdrawn(PortalError):
    status = 410
    code = "listing_withdrawn"
    message = gettext_noop("{listing} was withdrawn by its provider. {reason}")


class ListingTakenDown(PortalError):
    """By the operator. `contact` is a sentence: whom to ask."""

    status = 410
    code = "listing_taken_down"
    message = gettext_noop(
        "The operator of this marketplace took {listing} down on {since}: {reason} {contact}"
    )


class NotSubscribed(PortalError):
    status = 403
    code = "not_subscribed"
    message = gettext_noop(
        "Your organisation has no subscription to {listing}. Subscribe to one of its plans first."
    )


class VersionNotReady(Conflict):
    code = "version_not_ready"
    message = gettext_noop("{listing} has no version {version} that is ready to be called.")


class VersionExists(Conflict):
    code = "version_exists"
    message = gettext_noop("{listing} has these very files already, as version {number}.")


class TooManyExaminations(PortalError):
    status = 429
    code = "too_many_examinations"
    message = gettext_noop(
        "{organisation} has {most} versions and endpoints that are being checked. Wait until one of them is done."
    )


class WeightsMissing(NotFound):
    code = "weights_missing"
    message = gettext_noop("The bytes with SHA-256 {sha256} are not in the weights storage.")


class DigestMismatch(Invalid):
    code = "digest_mismatch"
    message = gettext_noop(
        "What arrived has the SHA-256 {actual}, but {expected} was declared. Send the file again."
    )


class SizeMismatch(Invalid):
    code = "size_mismatch"
    message = gettext_noop("{actual} bytes arrived, but {expected} were declared.")
    shows: ClassVar[Mapping[str, Show]] = {"actual": as_count, "expected": as_count}


class UploadRefused(PortalError):
    """Refused before a byte is sent: `findings` say which files and why."""

    status = 422
    code = "upload_refused"
    message = "{reason}"


class QuotaExceeded(PortalError):
    status = 413
    code = "quota_exceeded"
    message = gettext_noop(
        "{organisation} keeps {kept} of weights, uploads in progress included. {size} more are over its limit of "
        "{limit}. Delete listings that are not needed, or ask the operator of this marketplace for more."
    )
    shows: ClassVar[Mapping[str, Show]] = {"kept": as_size, "size": as_size, "limit": as_size}


class DiskFull(PortalError):
    """`contact` is a sentence: whom to ask."""

    status = 507
    code = "disk_full"
    message = gettext_noop("There is no room for {size} more on this marketplace's disk. {contact}")
    shows: ClassVar[Mapping[str, Show]] = {"size": as_size}


class UploadOver(PortalError):
    status = 410
    code = "upload_over"
    message = gettext_noop("This upload {reason}. Begin a new one.")


class UploadIncomplete(Conflict):
    code = "upload_incomplete"
    message = gettext_noop("{missing_bytes} bytes are still missing, in {missing}.")
    shows: ClassVar[Mapping[str, Show]] = {"missing_bytes": as_count}


class WrongOffset(Conflict):
    """`offset` is where the next chunk of the file must start."""

    code = "wrong_offset"
    message = gettext_noop("{path} has {offset} bytes so far. Continue from there.")


class ChunkTooLarge(PortalError):
    status = 413
    code = "chunk_too_large"
    message = gettext_noop("A chunk of {path} may have {most} at most.")
    shows: ClassVar[Mapping[str, Show]] = {"most": as_size}


class PlanInvalid(Invalid):
    code = "plan_invalid"
    message = "{reason}"


class PlanSlugTaken(Conflict):
    code = "plan_slug_taken"
    message = gettext_noop("{listing} has a plan {slug} already. Choose another slug.")


class PlanArchived(Conflict):
    code = "plan_archived"
    message = gettext_noop("The plan {plan} takes no new subscribers. Choose another one.")


class AlreadySubscribed(Conflict):
    code = "already_subscribed"
    message = gettext_noop("{organisation} is subscribed to {listing} already. Change its plan instead.")


class SubscriptionEnded(Conflict):
    code = "subscription_ended"
    message = gettext_noop("This subscription has ended. Subscribe again.")


class HubUnusable(PortalError):
    status = 502
    code = "hub_unusable"
    message = gettext_noop("{repository} could not be fetched: {reason}")


class EndpointInvalid(Invalid):
    code = "endpoint_invalid"
    message = "{reason}"


class EndpointExists(Conflict):
    code = "endpoint_exists"
    message = gettext_noop(
        "{listing} has this very endpoint already, as version {number}. Its key can be replaced there."
    )

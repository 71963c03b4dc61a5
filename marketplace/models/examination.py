"""What is to be found out about versions and endpoints: the line in which they wait, and what was seen."""

from django.db import models
from django.db.models import Q

from marketplace.models.listing import Listing
from marketplace.models.version import Version
from portal.accounts.models import Organisation, User
from portal.kit import clock, ids


class EndpointTrial(models.Model):
    """One tiny call of an endpoint that its provider has typed and not added. Kept for a day; the key until it is made."""

    id = models.UUIDField(primary_key=True, default=ids.uuid7, editable=False)
    listing = models.ForeignKey(Listing, on_delete=models.CASCADE, related_name="endpoint_trials")
    created_by = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(default=clock.now, editable=False)
    base_url = models.CharField(max_length=300)
    model = models.CharField(max_length=200)
    sealed_key = models.TextField(blank=True)
    seen = models.JSONField(
        null=True, blank=True, help_text='{"ok", "message", "shown", "counts"}, once it was made.'
    )

    def __str__(self) -> str:
        return f"trial of {self.base_url}"


class Examination(models.Model):
    """Of a version, or of an endpoint before it is added. Whoever works on it holds it until `held_until` and renews
    that; a process that dies does not, so that another one takes it up. `attempts` are those at this stage.
    """

    class Stage(models.TextChoices):
        """Files are verified and read; then the version is tried."""

        FILES = "files"
        TRIAL = "trial"

    class Step(models.TextChoices):
        """What is being done, for whoever waits."""

        WAITING = "waiting"
        VERIFYING = "verifying"
        READING = "reading"
        TRYING = "trying"

    id = models.UUIDField(primary_key=True, default=ids.uuid7, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="+")
    version = models.OneToOneField(
        Version, on_delete=models.CASCADE, null=True, blank=True, related_name="examination"
    )
    endpoint = models.OneToOneField(
        EndpointTrial, on_delete=models.CASCADE, null=True, blank=True, related_name="examination"
    )
    stage = models.CharField(max_length=8, choices=Stage.choices)
    step = models.CharField(max_length=16, choices=Step.choices, default=Step.WAITING)
    done_bytes = models.BigIntegerField(default=0)
    total_bytes = models.BigIntegerField(default=0)
    attempts = models.PositiveSmallIntegerField(default=0)
    queued_at = models.DateTimeField(default=clock.now)
    begun_at = models.DateTimeField(null=True, blank=True)
    held_by = models.UUIDField(null=True, blank=True)
    held_until = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(version=None) ^ Q(endpoint=None), name="examination_of_one_thing"
            ),
        ]
        indexes = [
            models.Index(fields=["organisation", "-begun_at"], name="examination_turns"),
            models.Index(fields=["queued_at"], condition=Q(ended_at=None), name="examination_open"),
        ]

    def __str__(self) -> str:
        return f"{self.stage} of {self.version_id or self.endpoint_id}"

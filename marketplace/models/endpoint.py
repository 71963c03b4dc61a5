"""A provider's own OpenAI-compatible server, as a version."""

from django.db import models

from marketplace.models.version import Version
from portal.accounts.models import User
from portal.kit import clock


class Endpoint(models.Model):
    """Where calls of a remote version go. Only members of its provider ever read the address, nobody the key.

    Address, model and limits never change, as everything else of a version; the key may be replaced.
    """

    version = models.OneToOneField(
        Version, on_delete=models.CASCADE, primary_key=True, related_name="endpoint"
    )
    base_url = models.CharField(max_length=300, help_text="Up to and with /v1, without a slash at its end.")
    model = models.CharField(max_length=200, help_text="The model's name on that server.")
    max_output_tokens = models.PositiveIntegerField(default=0, help_text="0 for embeddings.")
    concurrency = models.PositiveIntegerField(
        default=64,
        help_text="Calls under way at once, per web process, beyond which callers are turned away.",
    )
    hidden_reasoning_tokens = models.PositiveIntegerField(
        default=0, help_text="Reasoning that an answer may bill without showing it, at most."
    )
    sealed_key = models.TextField(blank=True, help_text="Encrypted; empty where the server wants none.")
    key_changed_at = models.DateTimeField(default=clock.now)
    key_changed_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")

    def __str__(self) -> str:
        return f"endpoint of {self.version_id}"

"""What the shop's API takes and gives. Money is whole micro-minor units (10^-6 of a cent)."""

from typing import Any

from drf_spectacular.utils import extend_schema_field

from marketplace import examinations
from marketplace.cards import MAX_CHARACTERS
from marketplace.catalogue import SORTS
from marketplace.endpoints import MOST_CONCURRENT, MOST_TOKENS
from marketplace.models import (
    Endpoint,
    Examination,
    Listing,
    Meter,
    Plan,
    PlanVersion,
    PriceComponent,
    Subscription,
    Task,
    Upload,
    UploadFile,
    Version,
    VersionFile,
)
from marketplace.pricing import MOST, latest_version
from marketplace.validation.files import MAX_FILES, MAX_PATH_LENGTH
from portal.kit import serializers


class SearchSerializer(serializers.QuerySerializer):
    q = serializers.CharField(required=False, default="", allow_blank=True, max_length=200)
    task = serializers.ChoiceField(choices=Task.choices, required=False, default="")
    plan_kind = serializers.ChoiceField(choices=Plan.Kind.choices, required=False, default="")
    licence = serializers.CharField(required=False, default="", max_length=64)
    language = serializers.CharField(required=False, default="", max_length=16)
    tag = serializers.CharField(required=False, default="", max_length=40)
    provider = serializers.SlugField(required=False, default="", max_length=64)
    largest = serializers.IntegerField(
        required=False, default=None, min_value=0, max_value=2**62, help_text="Parameters at most."
    )
    sort = serializers.ChoiceField(choices=SORTS, required=False, default="relevance")
    mine = serializers.BooleanField(
        required=False, default=False, help_text="The caller's own listings, drafts included, newest first."
    )


class ListingBriefSerializer(serializers.ModelSerializer[Listing]):
    """A listing in a list."""

    owner = serializers.SlugField(source="organisation.slug", read_only=True)
    path = serializers.CharField(read_only=True, help_text="`owner/slug`, the name in API calls.")
    state = serializers.ChoiceField(
        choices=Listing.State.choices, read_only=True,
        help_text="suspended: its organisation is; taken_down: by the operator.",
    )  # fmt: skip
    version = serializers.IntegerField(source="current_version.number", read_only=True, default=None)
    parameter_count = serializers.IntegerField(
        source="current_version.parameter_count", read_only=True, default=None
    )

    class Meta:
        model = Listing
        fields = [
            "id", "owner", "slug", "path", "name", "summary", "task", "licence", "languages", "tags", "state",
            "version", "parameter_count", "playground_without_sign_in", "created_at", "published_at",
        ]  # fmt: skip
        read_only_fields = ["id", "playground_without_sign_in", "created_at", "published_at"]


class ListingSerializer(ListingBriefSerializer):
    """A listing with its card, and when and why it was stopped: by its provider, or by the operator, who may have
    stopped its organisation.
    """

    suspended_at = serializers.DateTimeField(source="organisation.suspended_at", read_only=True)
    suspended_reason = serializers.CharField(source="organisation.suspended_reason", read_only=True)

    class Meta(ListingBriefSerializer.Meta):
        _ended = ["withdrawn_at", "withdrawn_reason", "taken_down_at", "taken_down_reason"]
        fields = [*ListingBriefSerializer.Meta.fields, "card", *_ended, "suspended_at", "suspended_reason"]
        read_only_fields = [*ListingBriefSerializer.Meta.read_only_fields, *_ended]
        extra_kwargs = {"card": {"max_length": MAX_CHARACTERS}}


class ListingChangeSerializer(serializers.ModelSerializer[Listing]):
    class Meta:
        model = Listing
        fields = ["name", "summary", "card", "licence", "languages", "tags"]
        extra_kwargs = {"card": {"max_length": MAX_CHARACTERS}}


class WithdrawalSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=240, help_text="Subscribers read it.")


class CurrentVersionSerializer(serializers.Serializer[Any]):
    number = serializers.IntegerField(min_value=1)


class VersionSerializer(serializers.ModelSerializer[Version]):
    """A version as everyone sees it."""

    class Meta:
        model = Version
        fields = [
            "number", "kind", "digest", "state", "task", "architecture", "context_length", "parameter_count",
            "weight_bytes", "memory_bytes", "evaluation", "training", "notes", "created_at",
        ]  # fmt: skip
        read_only_fields = fields


class VersionFileSerializer(serializers.ModelSerializer[VersionFile]):
    class Meta:
        model = VersionFile
        fields = ["path", "size", "sha256"]


class EndpointSerializer(serializers.ModelSerializer[Endpoint]):
    """A provider's own server. Its key is never shown to anyone."""

    has_key = serializers.BooleanField(source="sealed_key", read_only=True)

    class Meta:
        model = Endpoint
        fields = [
            "base_url", "model", "max_output_tokens", "hidden_reasoning_tokens", "concurrency", "has_key",
            "key_changed_at",
        ]  # fmt: skip
        read_only_fields = fields


class ProgressSerializer(serializers.Serializer[Any]):
    """Files are verified and read, then the version is tried; before each it waits for its turn."""

    step = serializers.ChoiceField(choices=Examination.Step.choices)
    ahead = serializers.IntegerField(help_text="Of the same organisation, before it.")
    done_bytes = serializers.IntegerField()
    total_bytes = serializers.IntegerField()


class OwnVersionSerializer(VersionSerializer):
    """A version as its provider sees it: with its files or its endpoint, and what was found of it."""

    files = VersionFileSerializer(many=True, read_only=True)
    endpoint = EndpointSerializer(read_only=True, default=None)
    progress = serializers.SerializerMethodField()

    class Meta(VersionSerializer.Meta):
        fields = [*VersionSerializer.Meta.fields, "report", "files", "endpoint", "progress"]
        read_only_fields = fields

    @extend_schema_field(ProgressSerializer(allow_null=True))
    def get_progress(self, version: Version) -> dict[str, Any] | None:
        """What is being done about a version that is checking."""
        if version.state != Version.State.CHECKING:
            return None
        found = examinations.progress_of(version)
        return None if found is None else dict(ProgressSerializer(found).data)


class NewEndpointSerializer(serializers.Serializer[Any]):
    base_url = serializers.CharField(max_length=300, help_text="`https://host[:port]/v1`")
    model = serializers.CharField(max_length=200, help_text="The model's name on that server.")
    api_key = serializers.CharField(
        max_length=2_000, required=False, default="", allow_blank=True, write_only=True,
        help_text="Kept encrypted, sent to that server alone, and never shown again.",
    )  # fmt: skip
    context_length = serializers.IntegerField(min_value=1, max_value=MOST_TOKENS)
    max_output_tokens = serializers.IntegerField(
        min_value=0,
        max_value=MOST_TOKENS,
        required=False,
        default=0,
        help_text="Of one answer; 0 for embeddings.",
    )
    hidden_reasoning_tokens = serializers.IntegerField(
        min_value=0,
        max_value=MOST_TOKENS,
        required=False,
        default=0,
        help_text="Reasoning that an answer may bill without showing it, at most. Callers see this number.",
    )
    concurrency = serializers.IntegerField(
        min_value=1, max_value=MOST_CONCURRENT, required=False, default=64,
        help_text="Calls at once, per web process, that the server takes.",
    )  # fmt: skip
    notes = serializers.CharField(required=False, default="", allow_blank=True, max_length=10_000)


class EndpointKeySerializer(serializers.Serializer[Any]):
    api_key = serializers.CharField(max_length=2_000, allow_blank=True, write_only=True)


class DeclaredFileSerializer(serializers.Serializer[Any]):
    path = serializers.CharField(max_length=MAX_PATH_LENGTH, trim_whitespace=False)
    size = serializers.IntegerField(min_value=0, max_value=2**62)
    sha256 = serializers.RegexField(r"\A[0-9a-f]{64}\Z")


class SizedFileSerializer(serializers.Serializer[Any]):
    path = serializers.CharField(max_length=MAX_PATH_LENGTH, trim_whitespace=False)
    size = serializers.IntegerField(min_value=0, max_value=2**62)


class UploadCheckSerializer(serializers.Serializer[Any]):
    files = serializers.ListField(child=SizedFileSerializer(), allow_empty=False, max_length=MAX_FILES)


class WantedFilesSerializer(serializers.Serializer[Any]):
    """Those that an upload would take; the others need be neither hashed nor sent."""

    paths = serializers.ListField(child=serializers.CharField())


class UploadBeginSerializer(serializers.Serializer[Any]):
    files = serializers.ListField(child=DeclaredFileSerializer(), allow_empty=False, max_length=MAX_FILES)
    notes = serializers.CharField(required=False, default="", allow_blank=True, max_length=10_000)


class OffsetSerializer(serializers.QuerySerializer):
    offset = serializers.IntegerField(
        min_value=0, max_value=2**62, help_text="The chunk's first byte in the file."
    )


class UploadFileSerializer(serializers.ModelSerializer[UploadFile]):
    class Meta:
        model = UploadFile
        fields = ["path", "size", "sha256", "received", "stored"]
        read_only_fields = fields


class UploadSerializer(serializers.ModelSerializer[Upload]):
    """Send each file's bytes from `received` on; files that are not listed are not needed."""

    listing = serializers.CharField(source="listing.path", read_only=True)
    version = serializers.IntegerField(source="version.number", read_only=True, default=None)
    files = UploadFileSerializer(many=True, read_only=True)

    class Meta:
        model = Upload
        fields = ["id", "listing", "created_at", "expires_at", "notes", "version", "files"]
        read_only_fields = fields


class ComponentSerializer(serializers.ModelSerializer[PriceComponent]):
    meter = serializers.ChoiceField(choices=Meter.choices)
    included = serializers.IntegerField(min_value=0, max_value=MOST, default=0)
    amount = serializers.IntegerField(
        min_value=0, max_value=MOST, allow_null=True, default=None,
        help_text="Null: calls stop when the included units are used up.",
    )  # fmt: skip
    per = serializers.IntegerField(min_value=1, max_value=MOST, default=1)

    class Meta:
        model = PriceComponent
        fields = ["meter", "included", "amount", "per"]


class TermsSerializer(serializers.ModelSerializer[PlanVersion]):
    components = ComponentSerializer(many=True)
    spend_cap = serializers.IntegerField(
        min_value=0, max_value=MOST, allow_null=True, required=False,
        help_text="What a new subscription's usage may cost in a period, unless its buyer chooses otherwise.",
    )  # fmt: skip

    class Meta:
        model = PlanVersion
        fields = [
            "number", "currency", "monthly_fee", "spend_cap", "requests_per_minute", "tokens_per_minute",
            "concurrent_requests", "published_at", "components",
        ]  # fmt: skip
        read_only_fields = ["number", "currency", "published_at"]


class PlanSerializer(serializers.ModelSerializer[Plan]):
    terms = serializers.SerializerMethodField()

    class Meta:
        model = Plan
        fields = ["id", "slug", "name", "kind", "created_at", "archived_at", "terms"]
        read_only_fields = fields

    def get_terms(self, plan: Plan) -> TermsSerializer:
        """Those that a new subscriber gets."""
        return TermsSerializer(latest_version(plan)).data  # type: ignore[return-value]


class NewPlanSerializer(serializers.ModelSerializer[Plan]):
    terms = TermsSerializer()

    class Meta:
        model = Plan
        fields = ["slug", "name", "kind", "terms"]


class SubscriptionSerializer(serializers.ModelSerializer[Subscription]):
    listing = serializers.CharField(source="listing.path", read_only=True)
    listing_state = serializers.ChoiceField(
        choices=Listing.State.choices, source="listing.state", read_only=True,
        help_text="Of a listing that is not live no call is taken.",
    )  # fmt: skip
    plan = serializers.SlugField(source="plan_version.plan.slug", read_only=True)
    terms = TermsSerializer(source="plan_version", read_only=True)

    class Meta:
        model = Subscription
        fields = ["id", "listing", "listing_state", "plan", "terms", "spend_cap", "started_at", "ended_at"]
        read_only_fields = fields


class NewSubscriptionSerializer(serializers.Serializer[Any]):
    listing = serializers.RegexField(r"\A[\w-]+/[\w-]+\Z", help_text="`owner/slug`.")
    plan = serializers.SlugField()
    spend_cap = serializers.IntegerField(
        min_value=0, max_value=MOST, required=False, allow_null=True, default=None
    )


class SubscriptionChangeSerializer(serializers.Serializer[Any]):
    """Another plan, which ends this subscription and begins one; or another spend cap."""

    plan = serializers.SlugField(required=False)
    spend_cap = serializers.IntegerField(min_value=0, max_value=MOST, required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise serializers.ValidationError("Give a plan, a spend_cap or both.")
        return attrs

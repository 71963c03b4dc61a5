"""The control API of identities: organisations, members and API keys."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from portal.accounts import api_keys, invitations, key_handover, key_limits, membership
from portal.accounts.auth import acting_organisation
from portal.accounts.key_limits import BUDGETS, MOST_A_MINUTE, MOST_BUDGET, RATES, KeyLimits
from portal.accounts.membership import KeyFate
from portal.accounts.models import ApiKey, Invitation, Membership, Organisation, Role, Scope, User
from portal.kit import serializers
from portal.kit.errors import NotFound
from portal.kit.views import APIView, GenericViewSet


class OrganisationSerializer(serializers.ModelSerializer[Organisation]):
    """One that the operator has suspended can be read, and takes no change."""

    class Meta:
        model = Organisation
        fields = ["id", "slug", "name", "kind", "created_at", "suspended_at", "suspended_reason"]
        read_only_fields = ["id", "created_at", "suspended_at", "suspended_reason"]
        # Whether it is taken, the activity says: with what looks like it, and by the database's word.
        extra_kwargs: dict[str, Any] = {"slug": {"validators": []}}


class MemberSerializer(serializers.ModelSerializer[Membership]):
    email = serializers.EmailField(source="user.email")
    is_active = serializers.BooleanField(
        source="user.is_active", read_only=True, help_text="false: the operator has deactivated the account."
    )
    keys = serializers.SerializerMethodField()

    class Meta:
        model = Membership
        fields = ["id", "email", "role", "is_active", "keys", "created_at"]
        read_only_fields = ["id", "created_at"]

    def get_keys(self, member: Membership) -> int:
        """How many of the organisation's working keys they hold."""
        return key_handover.held(member.organisation_id, member.user_id).count()


class InvitationSerializer(serializers.ModelSerializer[Invitation]):
    class Meta:
        model = Invitation
        fields = ["id", "email", "role", "created_at", "expires_at"]
        read_only_fields = ["id", "created_at", "expires_at"]


class KeyFateSerializer(serializers.QuerySerializer):
    keys = serializers.CharField(
        required=False, default="",
        help_text="What becomes of the keys that the member holds: `revoke`, or the id of the membership that takes "
        "them over. Keys that manage are revoked in either case.",
    )  # fmt: skip

    def validate_keys(self, text: str) -> KeyFate:
        if text in ("", "revoke"):
            return "revoke" if text else None
        try:
            return UUID(text)
        except ValueError:
            raise serializers.ValidationError("Give `revoke` or the id of a membership.") from None


class RoleSerializer(serializers.Serializer[Any]):
    role = serializers.ChoiceField(choices=Role.choices)


_BUDGET_HELP = "Micro-minor units: 100000000 is one dollar. null: no limit; 0: spend nothing."


class KeyLimitsSerializer(serializers.ModelSerializer[ApiKey]):
    """How fast a key may call, and what its calls may cost: in total, per UTC day and per UTC month."""

    class Meta:
        model = ApiKey
        fields = [*RATES, *BUDGETS, "budget_currency"]
        extra_kwargs = {name: {"max_value": MOST_A_MINUTE} for name in RATES} | {
            name: {"min_value": 0, "max_value": MOST_BUDGET, "help_text": _BUDGET_HELP} for name in BUDGETS
        }


class ApiKeySerializer(serializers.ModelSerializer[ApiKey]):
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=Scope.choices), allow_empty=False)
    holder = serializers.EmailField(source="holder.email", read_only=True)
    state = serializers.SerializerMethodField()
    refusal = serializers.SerializerMethodField()

    class Meta:
        model = ApiKey
        fields = [
            "id", "name", "scopes", "last_four", "holder", "state", "refusal", "created_at", "expires_at", "revoked_at",
            *KeyLimitsSerializer.Meta.fields,
        ]  # fmt: skip
        read_only_fields = ["id", "last_four", "created_at", "revoked_at"]
        extra_kwargs = KeyLimitsSerializer.Meta.extra_kwargs

    def get_state(self, key: ApiKey) -> str:
        """active, dormant (see `refusal`), expired or revoked."""
        return api_keys.state_of(key)

    def get_refusal(self, key: ApiKey) -> str | None:
        """Why a dormant key calls nothing: its holder is gone, or the organisation suspended."""
        refusal = api_keys.find_dormancy(key) if key.is_live else None
        return str(refusal) if refusal else None


class IssuedKeySerializer(ApiKeySerializer):
    key = serializers.CharField(read_only=True, help_text="Shown this once.")

    class Meta(ApiKeySerializer.Meta):
        fields = [*ApiKeySerializer.Meta.fields, "key"]


def user_of(request: Request) -> User:
    """The authenticated user; permissions have refused everyone else."""
    assert isinstance(request.user, User)
    return request.user


class OrganisationViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet[Organisation]):
    """The caller's organisations. An API key sees its own organisation alone."""

    serializer_class = OrganisationSerializer
    lookup_field = "slug"

    def get_queryset(self) -> QuerySet[Organisation]:
        if getattr(self, "swagger_fake_view", False):
            return Organisation.objects.none()
        mine = Organisation.objects.filter(members=user_of(self.request))
        if isinstance(self.request.auth, ApiKey):
            mine = mine.filter(pk=self.request.auth.organisation_id)
        return mine

    @extend_schema(request=OrganisationSerializer, responses={201: OrganisationSerializer})
    def create(self, request: Request) -> Response:
        given = OrganisationSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        organisation = membership.open_organisation(user_of(request), **given.validated_data)
        return Response(OrganisationSerializer(organisation).data, status=201)


class MemberList(APIView):
    """Members of one of the caller's organisations."""

    @extend_schema(operation_id="members_list", responses=MemberSerializer(many=True))
    def get(self, request: Request, slug: str) -> Response:
        organisation = find_organisation(request, slug)
        members = organisation.memberships.select_related("user").order_by("created_at")
        return Response(MemberSerializer(members, many=True).data)

    @extend_schema(
        operation_id="members_invite", request=InvitationSerializer, responses={202: InvitationSerializer}
    )
    def post(self, request: Request, slug: str) -> Response:
        """Invite who has the address. They accept on their page of invitations once they have confirmed it."""
        organisation = find_organisation(request, slug)
        given = InvitationSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        invitation = invitations.invite(organisation, by=user_of(request), **given.validated_data)
        return Response(InvitationSerializer(invitation).data, status=202)


class InvitationList(APIView):
    """Invitations that wait for an answer."""

    @extend_schema(operation_id="invitations_list", responses=InvitationSerializer(many=True))
    def get(self, request: Request, slug: str) -> Response:
        organisation = find_organisation(request, slug)
        membership.require(user_of(request), organisation, "view")
        return Response(InvitationSerializer(invitations.open_in(organisation), many=True).data)


class InvitationDetail(APIView):
    @extend_schema(operation_id="invitations_retract", responses={204: None})
    def delete(self, request: Request, slug: str, invitation_id: UUID) -> Response:
        """Take an invitation back."""
        organisation = find_organisation(request, slug)
        invitations.retract(organisation, by=user_of(request), invitation_id=invitation_id)
        return Response(status=204)


class MemberDetail(APIView):
    """One membership: change its role or end it."""

    queries = {"DELETE": KeyFateSerializer}

    @extend_schema(operation_id="members_change", request=RoleSerializer, responses=MemberSerializer)
    def patch(self, request: Request, slug: str, member_id: UUID) -> Response:
        organisation = find_organisation(request, slug)
        given = RoleSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        changed = membership.change_role(
            organisation, by=user_of(request), membership_id=member_id,
            role=given.validated_data["role"],
        )  # fmt: skip
        return Response(MemberSerializer(changed).data)

    @extend_schema(operation_id="members_remove", parameters=[KeyFateSerializer], responses={204: None})
    def delete(self, request: Request, slug: str, member_id: UUID) -> Response:
        """409 `keys_undecided` where the member holds working keys and `keys` does not say what becomes of them."""
        given = KeyFateSerializer(data=request.query_params)
        given.is_valid(raise_exception=True)
        membership.remove(
            find_organisation(request, slug), by=user_of(request), membership_id=member_id,
            keys=given.validated_data["keys"],
        )  # fmt: skip
        return Response(status=204)


class ApiKeyViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet[ApiKey]):
    """API keys of the organisation that the caller acts for."""

    serializer_class = ApiKeySerializer

    def get_queryset(self) -> QuerySet[ApiKey]:
        if getattr(self, "swagger_fake_view", False):
            return ApiKey.objects.none()
        return api_keys.with_holders(ApiKey.objects.filter(organisation=acting_organisation(self.request)))

    @extend_schema(request=ApiKeySerializer, responses={201: IssuedKeySerializer})
    def create(self, request: Request) -> Response:
        given = ApiKeySerializer(data=request.data)
        given.is_valid(raise_exception=True)
        fields = dict(given.validated_data)
        names = KeyLimitsSerializer.Meta.fields
        limits = KeyLimits(**{name: fields.pop(name) for name in names if name in fields})
        key, text = api_keys.issue(acting_organisation(request), by=user_of(request), limits=limits, **fields)
        return Response({**ApiKeySerializer(key).data, "key": text}, status=201)

    @extend_schema(operation_id="keys_change_limits", request=KeyLimitsSerializer, responses=ApiKeySerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change limits and budgets, from the key's next call on. What is left out stays."""
        key = get_object_or_404(self.get_queryset(), pk=pk)
        given = KeyLimitsSerializer(key, data=request.data, partial=True)
        given.is_valid(raise_exception=True)
        limits = replace(key_limits.of(key), **given.validated_data)
        changed = key_limits.change(
            acting_organisation(request), by=user_of(request), key_id=key.pk, limits=limits
        )
        return Response(ApiKeySerializer(changed).data)

    @extend_schema(responses=ApiKeySerializer)
    def destroy(self, request: Request, pk: str) -> Response:
        key = get_object_or_404(self.get_queryset(), pk=pk)
        revoked = api_keys.revoke(acting_organisation(request), by=user_of(request), key_id=key.pk)
        return Response(ApiKeySerializer(revoked).data)


def find_organisation(request: Request, slug: str) -> Organisation:
    """One of the caller's organisations. Raises `NotFound` for all others."""
    organisation = Organisation.objects.filter(slug=slug).first()
    if organisation is None:
        raise NotFound(what="organisation")
    if isinstance(request.auth, ApiKey) and request.auth.organisation_id != organisation.pk:
        raise NotFound(what="organisation")
    membership.require(user_of(request), organisation, "view")
    return organisation

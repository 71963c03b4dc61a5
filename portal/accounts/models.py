"""Users, the organisations they act for, and the API keys of those organisations."""

from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower

from portal.kit import clock, ids, slugs


class Users(BaseUserManager["User"]):
    """Creates users by e-mail address."""

    def create_user(self, email: str, password: str | None = None, **fields: object) -> "User":
        user = self.model(email=self.normalize_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: object) -> "User":
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


class User(AbstractBaseUser, PermissionsMixin):
    """A person who signs in. What they own belongs to their organisations."""

    id = models.UUIDField(primary_key=True, default=ids.uuid7, editable=False)
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=150, blank=True)
    is_staff = models.BooleanField("operator", default=False)
    is_active = models.BooleanField(default=True)
    date_joined = models.DateTimeField(default=clock.now, editable=False)
    organisation_limit = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="How many organisations they may own. Empty: as everybody; 0: no limit.",
    )

    objects: ClassVar[Users] = Users()
    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints = [models.UniqueConstraint(Lower("email"), name="user_email_once")]

    def __str__(self) -> str:
        return self.name or self.email


class RateLimited(models.Model):
    """Who calls under limits of their own, beside those of the plans."""

    requests_per_minute = models.PositiveIntegerField(default=0, help_text="0: no limit.")
    tokens_per_minute = models.PositiveIntegerField(default=0, help_text="0: no limit.")
    concurrent_requests = models.PositiveIntegerField(default=0, help_text="0: no limit.")

    class Meta:
        abstract = True

    @property
    def is_rate_limited(self) -> bool:
        return bool(self.requests_per_minute or self.tokens_per_minute or self.concurrent_requests)


class Organisation(RateLimited):
    """Who owns, buys, sells and pays. Whoever signs up has a personal one. Its limits hold for all its keys and
    subscriptions together, and are the operators' to set.
    """

    class Kind(models.TextChoices):
        INDIVIDUAL = "individual"
        COMPANY = "company"
        ENTERPRISE = "enterprise"

    id = models.UUIDField(primary_key=True, default=ids.uuid7, editable=False)
    slug = models.SlugField(max_length=64, unique=True)
    # What the slug looks like; None for one that was there before a look-alike of it was noticed.
    skeleton = models.CharField(max_length=64, unique=True, null=True, editable=False)  # noqa: DJ001
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=16, choices=Kind.choices, default=Kind.INDIVIDUAL)
    personal_of = models.OneToOneField(
        User, on_delete=models.PROTECT, null=True, blank=True, related_name="personal_organisation"
    )
    members = models.ManyToManyField(User, through="Membership", related_name="organisations")
    created_at = models.DateTimeField(default=clock.now, editable=False)
    suspended_at = models.DateTimeField(null=True, blank=True)
    suspended_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    suspended_reason = models.CharField(max_length=240, blank=True, default="", db_default="")

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self._state.adding or self.skeleton is not None:
            self.skeleton = slugs.skeleton(self.slug)
        super().save(*args, **kwargs)

    def clean(self) -> None:
        """For operators' form, which knows nothing of looks."""
        alike = Organisation.objects.filter(skeleton=slugs.skeleton(self.slug)).exclude(pk=self.pk)
        if self.skeleton != slugs.skeleton(self.slug) and alike.exists():
            raise ValidationError({"slug": "Another organisation's looks like it."})


class OrganisationQuota(models.Model):
    """What one organisation may have, where that is not what all may. None: as all; 0: no limit."""

    organisation = models.OneToOneField(Organisation, on_delete=models.CASCADE, related_name="quota")
    listings = models.PositiveIntegerField(null=True, blank=True)
    versions = models.PositiveIntegerField("versions of a listing", null=True, blank=True)
    endpoints = models.PositiveIntegerField("remote endpoints", null=True, blank=True)
    uploads = models.PositiveIntegerField("open uploads", null=True, blank=True)
    plans = models.PositiveIntegerField("plans of a listing", null=True, blank=True)
    keys = models.PositiveIntegerField("working API keys", null=True, blank=True)
    members = models.PositiveIntegerField(null=True, blank=True)
    subscriptions = models.PositiveIntegerField(null=True, blank=True)
    stored_bytes = models.PositiveBigIntegerField(null=True, blank=True)

    def __str__(self) -> str:
        return f"Quota of {self.organisation}"


class Role(models.TextChoices):
    """What a member may do, widest first."""

    OWNER = "owner"
    ADMIN = "admin"
    DEVELOPER = "developer"
    BILLING = "billing"
    VIEWER = "viewer"


class Membership(models.Model):
    """A user in an organisation, with one role."""

    id = models.UUIDField(primary_key=True, default=ids.uuid7, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role.choices)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["organisation", "user"], name="membership_once")]

    def __str__(self) -> str:
        return f"{self.user} in {self.organisation} as {self.role}"


class Invitation(models.Model):
    """Who has proved the address may become a member in this role, until it expires."""

    id = models.UUIDField(primary_key=True, default=ids.uuid7, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="invitations")
    email = models.EmailField(help_text="In lower case.")
    role = models.CharField(max_length=16, choices=Role.choices)
    invited_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=clock.now, editable=False)
    expires_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["organisation", "email"], name="invitation_once")]

    def __str__(self) -> str:
        return f"{self.email} to {self.organisation}"


class Scope(models.TextChoices):
    """What a key may reach: the data plane, the control plane."""

    INFERENCE = "inference"
    MANAGE = "manage"


class ApiKey(RateLimited):
    """`mk_<id>_<secret>`, stored as a hash of the secret and shown once.

    `holder` answers for it: it works while they are an active member whose role may do what it does.
    Budgets are micro-minor units of `budget_currency`, for usage charges in total, per UTC day and per UTC
    month; None is without limit, 0 spends nothing.
    """

    id = models.UUIDField(primary_key=True, default=ids.uuid7, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="api_keys")
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    holder = models.ForeignKey(User, on_delete=models.PROTECT, related_name="held_keys")
    name = models.CharField(max_length=80)
    secret_hash = models.BinaryField(max_length=32, editable=False)
    last_four = models.CharField(max_length=4, editable=False)
    scopes = ArrayField(models.CharField(max_length=16, choices=Scope.choices))
    total_budget = models.BigIntegerField(null=True, blank=True)
    daily_budget = models.BigIntegerField(null=True, blank=True)
    monthly_budget = models.BigIntegerField(null=True, blank=True)
    budget_currency = models.CharField(max_length=3, default=settings.CURRENCY)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=~Q(scopes=[]), name="key_has_a_scope"),
            models.CheckConstraint(
                condition=Q(total_budget=None) | Q(total_budget__gte=0), name="key_total_budget_not_negative"
            ),
            models.CheckConstraint(
                condition=Q(daily_budget=None) | Q(daily_budget__gte=0), name="key_daily_budget_not_negative"
            ),
            models.CheckConstraint(
                condition=Q(monthly_budget=None) | Q(monthly_budget__gte=0),
                name="key_monthly_budget_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} (…{self.last_four})"

    @property
    def public_id(self) -> str:
        return ids.public("key", UUID(str(self.id)))

    @property
    def is_limited(self) -> bool:
        """Whether the key has a limit or budget of its own."""
        budgets = self.total_budget, self.daily_budget, self.monthly_budget
        return self.is_rate_limited or any(budget is not None for budget in budgets)

    @property
    def is_live(self) -> bool:
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > clock.now())

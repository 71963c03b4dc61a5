"""The demo's cast: a provider with a company, a consumer, an operator."""

import secrets
from dataclasses import dataclass

from allauth.account.models import EmailAddress
from django.db import transaction

from inference.demo.keepsake import Keepsake
from portal.accounts import api_keys, membership
from portal.accounts.models import ApiKey, Organisation, Scope, User

COMPANY = "mercato-labs"
KEY_NAME = "Demo application"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Who is there, and the organisations for which they act."""

    provider: User
    consumer: User
    operator: User
    company: Organisation
    buyer: Organisation

    def emails(self) -> dict[str, str]:
        return {
            "provider": self.provider.email,
            "consumer": self.consumer.email,
            "operator": self.operator.email,
        }


def gather(keepsake: Keepsake) -> Cast:
    """The cast, made where it is missing; their passwords are in `keepsake`."""
    provider = _find_or_make("provider", "Provider", keepsake=keepsake, is_alone=False)
    consumer = _find_or_make("consumer", "Consumer", keepsake=keepsake)
    operator = _find_or_make("operator", "Operator", keepsake=keepsake, is_operator=True)
    company = Organisation.objects.filter(slug=COMPANY).first() or membership.open_organisation(
        provider, slug=COMPANY, name="Mercato Labs", kind=Organisation.Kind.COMPANY, is_ours=True
    )
    buyer = Organisation.objects.get(personal_of=consumer)
    return Cast(provider=provider, consumer=consumer, operator=operator, company=company, buyer=buyer)


def hand_key(cast: Cast, keepsake: Keepsake) -> ApiKey:
    """The consumer's key; a new one where the text of the old one is lost or it has been revoked."""
    known = api_keys.find(keepsake.api_key) if keepsake.api_key else None
    if known is not None:
        return known
    key, keepsake.api_key = api_keys.issue(
        cast.buyer, by=cast.consumer, name=KEY_NAME, scopes=[Scope.INFERENCE]
    )
    keepsake.save()
    return key


def _find_or_make(
    role: str, name: str, *, keepsake: Keepsake, is_operator: bool = False, is_alone: bool = True
) -> User:
    """Who is not alone has no organisation of their own, so that the pages begin with their company's."""
    email = f"{role}@example.com"
    user = User.objects.filter(email=email).first()
    if user is not None and email in keepsake.passwords:
        return user
    # Kept before it is used: a password that is set and forgotten helps nobody.
    password = keepsake.passwords.setdefault(email, secrets.token_urlsafe(12))
    keepsake.save()
    with transaction.atomic():
        if user is None:
            user = User.objects.create_user(
                email, password, name=name, is_staff=is_operator, is_superuser=is_operator
            )
            if is_alone:
                membership.open_personal(user)
            EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
        else:
            user.set_password(password)
            user.save(update_fields=["password"])
    return user

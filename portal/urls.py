"""The composition root: every URL of the site outside /v1, which `portal.asgi` mounts."""

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from portal.accounts.addresses import AddressesView
from portal.kit.pages import answer_nowhere

# One way in, with its limit of wrong passwords.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

handler400 = "portal.kit.pages.answer_unreadable"
handler403 = "portal.kit.pages.answer_forbidden"
handler404 = "portal.kit.pages.answer_missing"
handler500 = "portal.kit.pages.answer_failure"

urlpatterns = [
    path("accounts/email/", login_required(AddressesView.as_view()), name="account_email"),
    path("accounts/", include("allauth.account.urls")),
    path("i18n/", include("django.conf.urls.i18n")),
    # Django's way from an object to its page, which no object of ours has, breaks on ids that are no UUIDs.
    path("admin/r/<path:rest>", answer_nowhere),
    path("admin/", admin.site.urls),
    path("api/", include("portal.accounts.api_urls")),
    path("api/", include("billing.api_urls")),
    path("api/", include("marketplace.api_urls")),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path(
        "api/docs/",
        SpectacularSwaggerSplitView.as_view(url_name="schema", metadata_class=None),
        name="api-docs",
    ),
    path("", include("portal.dashboard.health_urls")),
    path("", include("portal.dashboard.urls")),
]

"""Routes of the books' control API."""

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from billing import api

router = SimpleRouter()
router.register("requests", api.RequestViewSet, basename="request")

urlpatterns = [
    path("", include(router.urls)),
    path("usage/", api.UsageView.as_view(), name="usage"),
    path("invoices/draft/", api.DraftInvoiceView.as_view(), name="invoice-draft"),
    path("keys/<uuid:key_id>/budgets/", api.KeyBudgetsView.as_view(), name="key-budgets"),
    path("earnings/", api.EarningsView.as_view(), name="earnings"),
]

"""The books' API alone."""

from django.urls import include, path

urlpatterns = [path("api/", include("billing.api_urls"))]

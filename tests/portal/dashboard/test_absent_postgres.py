"""While Postgres is away for a moment, pages and the control API say when to come back."""

import pytest
from django.test import Client

from tests.absent_postgres import absent


@pytest.mark.django_db(transaction=True)
def test_pages_and_the_api_answer_503_and_when_to_come_back() -> None:
    browser = Client(raise_request_exception=False)
    with absent():
        page, api = browser.get("/"), browser.get("/api/listings/")
    assert (page.status_code, page["Retry-After"]) == (503, "2")
    assert b"at the moment" in page.content
    assert (api.status_code, api["Retry-After"]) == (503, "2")
    assert api.json()["error"]["code"] == "service_unavailable"
    assert browser.get("/").status_code == 200

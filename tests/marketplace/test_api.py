"""The shop's control API: the whole way of a model, in whole numbers and plain refusals."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.middleware.csrf import get_token
from django.test import Client, RequestFactory

from marketplace import examining, publishing
from marketplace.models import Listing, Subscription, Upload, Version
from portal.accounts import api_keys
from portal.accounts.models import Organisation, Scope, User
from tests.conftest import Cast
from tests.marketplace.test_uploads import declare

HOME = "/api/listings/acme/tiny/"
TERMS = {"components": [{"meter": "output_tokens", "included": 100}]}


class Caller:
    """JSON over HTTP, signed in or with a key."""

    def __init__(self, client: Client, *, key: str = "") -> None:
        self.client = client
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}

    def __call__(self, method: str, path: str, body: Any = None, *, expect: int = 200) -> Any:
        given: dict[str, Any] = {} if body is None else {"data": body, "content_type": "application/json"}
        answer = getattr(self.client, method)(path, headers=self.headers, **given)
        assert answer.status_code == expect, answer.content[:500]
        return answer.json() if answer.content else None

    def put_chunk(self, upload: str, path: str, offset: object, chunk: bytes, *, expect: int = 200) -> Any:
        answer = self.client.put(
            f"/api/uploads/{upload}/files/{path}?offset={offset}",
            data=chunk, content_type="application/octet-stream", headers=self.headers,
        )  # fmt: skip
        assert answer.status_code == expect, answer.content[:500]
        return answer.json()


def with_key(user: User, organisation: Organisation) -> Caller:
    _, text = api_keys.issue(organisation, by=user, name="k", scopes=[Scope.MANAGE])
    return Caller(Client(), key=text)


@pytest.fixture
def owner(cast: Cast) -> Caller:
    return with_key(cast.owner, cast.acme)


@pytest.fixture
def outsider(cast: Cast) -> Caller:
    return Caller(cast.browser(cast.outsider))


def upload_folder(caller: Caller, folder: Path, *, chunk: int = 4096) -> Any:
    begun = caller("post", f"{HOME}uploads/", {"files": declare(folder), "notes": "First."}, expect=201)
    for file in begun["files"]:
        content = (folder / file["path"]).read_bytes()
        for offset in range(0, len(content), chunk):
            caller.put_chunk(begun["id"], file["path"], offset, content[offset : offset + chunk])
    return caller("post", f"/api/uploads/{begun['id']}/complete/", expect=201)


def put_on_sale(owner: Caller, model: Path) -> Version:
    owner("post", "/api/listings/", {"slug": "tiny", "name": "Tiny", "task": "text-generation"}, expect=201)
    number = upload_folder(owner, model)["number"]
    version = examining.examine(Version.objects.get(number=number))
    publishing.record_trial(version.pk, ok=True)
    owner(
        "post", f"{HOME}plans/", {"slug": "free", "name": "Free", "kind": "free", "terms": TERMS}, expect=201
    )
    owner("put", f"{HOME}publication/")
    return version


def test_from_a_folder_to_a_subscription(owner: Caller, outsider: Caller, model: Path) -> None:
    put_on_sale(owner, model)
    seen = Caller(Client())("get", "/api/listings/?q=tiny")
    assert [(found["path"], found["state"], found["version"]) for found in seen["results"]] == [
        ("acme/tiny", "live", 1)
    ]
    assert Caller(Client())("get", HOME)["card"].startswith("# Tiny")
    taken = outsider("post", "/api/subscriptions/", {"listing": "acme/tiny", "plan": "free"}, expect=201)
    assert taken["terms"]["components"] == [
        {"meter": "output_tokens", "included": 100, "amount": None, "per": 1}
    ]
    assert outsider("get", "/api/subscriptions/")["results"] == [taken]
    refused = outsider("post", "/api/subscriptions/", {"listing": "acme/tiny", "plan": "free"}, expect=409)
    assert refused["error"]["code"] == "already_subscribed"
    assert outsider("delete", f"/api/subscriptions/{taken['id']}/")["ended_at"] is not None
    assert (
        outsider("delete", f"/api/subscriptions/{taken['id']}/", expect=409)["error"]["code"]
        == "subscription_ended"
    )


def test_a_plan_is_revised_and_a_subscription_moved(owner: Caller, outsider: Caller, model: Path) -> None:
    put_on_sale(owner, model)
    price = {"meter": "output_tokens", "amount": 50_000_000, "per": 1_000_000}
    paid = {"slug": "paid", "name": "Paid", "kind": "paid", "terms": {"components": [price]}}
    made = owner("post", f"{HOME}plans/", paid, expect=201)
    assert made["terms"]["spend_cap"] == 100 * 10**8
    taken = outsider("post", "/api/subscriptions/", {"listing": "acme/tiny", "plan": "free"}, expect=201)
    revised = owner("put", f"{HOME}plans/paid/", {"monthly_fee": 10**8, "components": [price]})
    assert (revised["terms"]["number"], revised["terms"]["monthly_fee"]) == (2, 10**8)
    address = f"/api/subscriptions/{taken['id']}/"
    moved = outsider("patch", address, {"plan": "paid", "spend_cap": 5})
    assert (moved["plan"], moved["spend_cap"], moved["terms"]["number"]) == ("paid", 5, 2)
    assert outsider("patch", f"/api/subscriptions/{moved['id']}/", {"spend_cap": 7})["spend_cap"] == 7
    outsider("patch", address, {}, expect=400)
    bad = owner("put", f"{HOME}plans/paid/", {"components": [{"meter": "images", "amount": 1}]}, expect=400)
    assert bad["error"]["code"] == "plan_invalid"
    owner("delete", f"{HOME}plans/paid/")
    assert [plan["slug"] for plan in outsider("get", f"{HOME}plans/")] == ["free"]
    assert [plan["slug"] for plan in owner("get", f"{HOME}plans/")] == ["free", "paid"]


def test_an_interrupted_upload_goes_on_where_it_was(owner: Caller, listing: Listing) -> None:
    content = b"0123456789"
    file = {"path": "README.md", "size": 10, "sha256": hashlib.sha256(content).hexdigest()}
    upload = owner("post", f"{HOME}uploads/", {"files": [file]}, expect=201)["id"]
    owner.put_chunk(upload, "README.md", 0, content[:4])
    wrong = owner.put_chunk(upload, "README.md", 6, content[6:], expect=409)["error"]
    assert (wrong["code"], wrong["offset"]) == ("wrong_offset", 4)
    (listed,) = owner("get", f"{HOME}uploads/")
    assert (listed["id"], listed["files"][0]["received"]) == (upload, 4)
    missing = owner("post", f"/api/uploads/{upload}/complete/", expect=409)["error"]
    assert missing["missing_bytes"] == 6
    owner.put_chunk(upload, "README.md", 4, content[4:])
    assert owner("get", f"/api/uploads/{upload}/")["files"][0]["stored"]
    made = owner("post", f"/api/uploads/{upload}/complete/", expect=201)
    assert (made["state"], made["progress"]["step"]) == ("checking", "waiting")
    examining.examine(Version.objects.get())
    refused = owner("get", f"{HOME}versions/{made['number']}/")
    assert (refused["state"], refused["progress"]) == ("refused", None)
    assert "weights-missing" in {finding["rule"] for finding in refused["report"]["findings"]}


@pytest.mark.parametrize("offset", ["", "-1", "x", "1e3", "9" * 30])
def test_offsets_are_numbers(owner: Caller, listing: Listing, offset: str) -> None:
    file = {"path": "README.md", "size": 1, "sha256": "0" * 64}
    upload = owner("post", f"{HOME}uploads/", {"files": [file]}, expect=201)["id"]
    owner.put_chunk(upload, "README.md", offset, b"x", expect=400)


def test_oversized_chunks_are_refused(owner: Caller, listing: Listing) -> None:
    file = {"path": "model.safetensors", "size": 2**30, "sha256": "0" * 64}
    upload = owner("post", f"{HOME}uploads/", {"files": [file]}, expect=201)["id"]
    chunk = bytes(16 * 2**20)
    owner.put_chunk(upload, "model.safetensors", 0, chunk + b"x", expect=413)
    assert owner.put_chunk(upload, "model.safetensors", 0, chunk)["received"] == len(chunk)


def test_pickles_are_refused_before_they_are_sent(owner: Caller, listing: Listing) -> None:
    file = {"path": "pytorch_model.bin", "size": 1, "sha256": "0" * 64}
    refused = owner("post", f"{HOME}uploads/", {"files": [file]}, expect=422)["error"]
    assert refused["findings"][0]["rule"] == "pickle"
    assert "safe_serialization" in refused["message"]


def test_browsers_upload_with_their_session_and_a_csrf_token(cast: Cast, listing: Listing) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(cast.mate)
    session = browser.session
    session["organisation"] = cast.acme.slug
    session.save()
    body = {"files": [{"path": "README.md", "size": 1, "sha256": hashlib.sha256(b"x").hexdigest()}]}
    Caller(browser)("post", f"{HOME}uploads/", body, expect=403)
    page = RequestFactory().get("/")
    caller = Caller(browser)
    caller.headers = {"X-CSRFToken": get_token(page)}
    browser.cookies["csrftoken"] = page.META["CSRF_COOKIE"]
    upload = caller("post", f"{HOME}uploads/", body, expect=201)["id"]
    assert caller.put_chunk(upload, "README.md", 0, b"x")["received"] == 1


def test_versions_roll_back(owner: Caller, outsider: Caller, model: Path) -> None:
    put_on_sale(owner, model)
    (model / "NOTICE").write_text("second")
    assert upload_folder(owner, model)["number"] == 2
    owner("put", f"{HOME}current-version/", {"number": 2}, expect=409)
    publishing.record_trial(examining.examine(Version.objects.get(number=2)).pk, ok=True)
    assert owner("put", f"{HOME}current-version/", {"number": 2})["version"] == 2
    assert owner("put", f"{HOME}current-version/", {"number": 1})["version"] == 1
    owner("put", f"{HOME}current-version/", {"number": 9}, expect=404)
    assert [version["number"] for version in outsider("get", f"{HOME}versions/")] == [2, 1]
    assert "report" not in outsider("get", f"{HOME}versions/1/")
    assert len(owner("get", f"{HOME}versions/1/")["files"]) == len(list(model.iterdir())) - 1
    again = owner("post", f"{HOME}uploads/", {"files": declare(model)}, expect=201)
    for file in again["files"]:
        owner.put_chunk(again["id"], file["path"], 0, (model / file["path"]).read_bytes())
    same = owner("post", f"/api/uploads/{again['id']}/complete/", expect=409)["error"]
    assert (same["code"], same["number"]) == ("version_exists", 2)


def test_withdrawal_hides_and_publication_brings_back(owner: Caller, outsider: Caller, model: Path) -> None:
    put_on_sale(owner, model)
    assert owner("put", f"{HOME}withdrawal/", {"reason": "Wrong."})["state"] == "withdrawn"
    outsider("get", HOME, expect=404)
    outsider("post", "/api/subscriptions/", {"listing": "acme/tiny", "plan": "free"}, expect=404)
    assert owner("put", f"{HOME}publication/")["state"] == "live"
    assert outsider("get", HOME)["state"] == "live"


def test_visitors_are_let_in_and_out(owner: Caller, model: Path) -> None:
    put_on_sale(owner, model)
    assert owner("put", f"{HOME}visitors/")["playground_without_sign_in"] is True
    assert Subscription.objects.get().organisation.slug == "visitors"
    assert owner("delete", f"{HOME}visitors/")["playground_without_sign_in"] is False


def test_one_lists_ones_own_and_pages_through(owner: Caller, outsider: Caller) -> None:
    for number in range(5):
        body = {"slug": f"m{number}", "name": f"M{number}", "task": "text-generation"}
        owner("post", "/api/listings/", body, expect=201)
    first = owner("get", "/api/listings/?mine=true&limit=3")
    rest = owner("get", first["next"])
    assert [found["slug"] for found in first["results"] + rest["results"]] == ["m4", "m3", "m2", "m1", "m0"]
    assert rest["next"] is None
    assert outsider("get", "/api/listings/?mine=true")["results"] == []
    assert outsider("get", "/api/listings/")["results"] == []
    for wrong in (
        "limit=0",
        "limit=101",
        "after=x",
        "after=x:y:z",
        "offset=50",
        "sort=colour",
        "task=x",
        "largest=x",
    ):
        outsider("get", f"/api/listings/?{wrong}", expect=400)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"slug": "a b", "name": "A", "task": "text-generation"},
        {"slug": "a", "name": "A", "task": "mind-reading"},
        {"slug": "a", "name": "x" * 121, "task": "text-generation"},
        {"slug": "a", "name": "A", "task": "text-generation", "tags": "no list"},
        {"slug": "a", "name": "A\x00", "task": "text-generation"},
    ],
)
def test_bad_listings_are_refused_by_field(owner: Caller, body: dict[str, Any]) -> None:
    assert owner("post", "/api/listings/", body, expect=400)["error"]["fields"]


Route = tuple[str, str, Any]
CHANGES: list[Route] = [
    ("patch", HOME, {"name": "Mine"}),
    ("put", f"{HOME}publication/", None),
    ("put", f"{HOME}withdrawal/", {"reason": "Mine."}),
    ("put", f"{HOME}visitors/", None),
    ("delete", f"{HOME}visitors/", None),
    ("put", f"{HOME}current-version/", {"number": 1}),
    ("post", f"{HOME}uploads/", {"files": [{"path": "README.md", "size": 1, "sha256": "0" * 64}]}),
    ("post", f"{HOME}plans/", {"slug": "x", "name": "X", "kind": "free", "terms": TERMS}),
    ("put", f"{HOME}plans/free/", TERMS),
    ("delete", f"{HOME}plans/free/", None),
]


@pytest.fixture
def on_sale(owner: Caller, model: Path) -> Version:
    return put_on_sale(owner, model)


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
@pytest.mark.usefixtures("on_sale")
def test_outsiders_change_nothing(cast: Cast, method: str, path: str, body: Any) -> None:
    before = Listing.objects.values().get()
    Caller(cast.browser(cast.outsider))(method, path, body, expect=404)
    Caller(Client())(method, path, body, expect=401)
    # The owner's own key for another organisation of theirs is an outsider's key here.
    with_key(cast.owner, cast.owner.personal_organisation)(method, path, body, expect=404)
    assert Listing.objects.values().get() == before
    assert not Upload.objects.filter(version=None).exists()


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
@pytest.mark.usefixtures("on_sale")
def test_viewers_change_nothing(cast: Cast, method: str, path: str, body: Any) -> None:
    cast.acme.memberships.filter(user=cast.mate).update(role="viewer")
    refused = Caller(cast.browser(cast.mate))(method, path, body, expect=403)
    assert refused["error"]["code"] == "not_allowed"


@pytest.mark.parametrize(
    "path", [HOME, f"{HOME}versions/", f"{HOME}versions/1/", f"{HOME}plans/", f"{HOME}uploads/"]
)
def test_drafts_do_not_exist_for_outsiders(cast: Cast, listing: Listing, path: str) -> None:
    Caller(cast.browser(cast.outsider))("get", path, expect=404)
    Caller(Client())("get", path, expect=401 if "uploads" in path else 404)


def test_uploads_and_subscriptions_are_their_owners_alone(
    cast: Cast, owner: Caller, outsider: Caller, on_sale: Version
) -> None:
    body = {"files": [{"path": "README.md", "size": 1, "sha256": "0" * 64}]}
    upload = owner("post", f"{HOME}uploads/", body, expect=201)["id"]
    other_key = with_key(cast.owner, cast.owner.personal_organisation)
    for caller in (outsider, other_key):
        caller("get", f"/api/uploads/{upload}/", expect=404)
        caller("post", f"/api/uploads/{upload}/complete/", expect=404)
        caller.put_chunk(upload, "README.md", 0, b"x", expect=404)
    taken = outsider("post", "/api/subscriptions/", {"listing": "acme/tiny", "plan": "free"}, expect=201)[
        "id"
    ]
    for method, given in (("get", None), ("patch", {"spend_cap": 1}), ("delete", None)):
        owner(method, f"/api/subscriptions/{taken}/", given, expect=404)


def test_a_developer_may_not_buy(cast: Cast, on_sale: Version) -> None:
    mate = Caller(cast.browser(cast.mate))
    mate("post", "/api/subscriptions/", {"listing": "acme/tiny", "plan": "free"}, expect=403)


def test_an_inference_key_manages_nothing(cast: Cast, on_sale: Version) -> None:
    _, text = api_keys.issue(cast.acme, by=cast.owner, name="k", scopes=[Scope.INFERENCE])
    Caller(Client(), key=text)("patch", HOME, {"name": "Mine"}, expect=403)


def test_the_schema_is_clean(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yaml"))


def test_search_costs_few_queries(
    owner: Caller, on_sale: Version, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    # Whole words and then their beginnings, each in headlines and then anywhere; the ranked page, its owners and its
    # versions.
    with django_assert_max_num_queries(7):
        Caller(Client())("get", "/api/listings/?q=tiny&plan_kind=free")

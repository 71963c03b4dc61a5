"""Refusals and findings speak the reader's language on pages, and English in the API."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.utils import translation

from marketplace.errors import NotPublishable, QuotaExceeded, UploadOver
from marketplace.models import Version
from marketplace.publishing import create_listing
from marketplace.validation import examine
from marketplace.validation.report import local_file
from portal.dashboard import wording
from portal.dashboard.phrases import PHRASES
from portal.kit.errors import NotAllowed, NotFound
from tests.conftest import Cast

CHINESE = {"accept-language": "zh-CN,zh;q=0.9"}
FACTS = re.compile(r"\{(\w+)\}")


def test_a_refused_form_explains_itself_in_chinese(cast: Cast) -> None:
    create_listing(cast.acme, by=cast.owner, slug="writer", name="Writer", task="text-generation")
    fields = {"name": "Second", "slug": "writer", "task": "text-generation"}
    page = cast.browser(cast.owner).post("/studio/new/", fields, headers=CHINESE).content.decode()
    assert "acme 已有商品 writer，或与其相似的名称。请另选一个地址。" in page


def test_an_error_page_is_chinese_and_the_api_stays_english(cast: Cast) -> None:
    browser = cast.browser(cast.outsider)
    page = browser.get("/listings/acme/nothing/", headers=CHINESE)
    assert page.status_code == 404
    assert "没有这样的商品，或者您无权查看。" in page.content.decode()
    answer = browser.get("/api/listings/acme/nothing/", headers=CHINESE)
    assert answer.json()["error"]["message"] == "There is no such listing, or it is not yours to see."


def test_what_goes_into_a_refusal_is_translated_too() -> None:
    with translation.override("zh-hans"):
        assert wording.explain(NotAllowed(role="viewer", action="publish")).startswith(
            "您的角色“访客”无权发布"
        )
        unpriced = NotPublishable(
            listing="a/b", reason="it has no plan. Price it first; free is a price too."
        )
        assert wording.explain(unpriced) == "a/b 尚不能发布：它没有套餐。请先定价；免费也是一种价格。"
        assert wording.explain(UploadOver(reason="has expired")) == "此上传已过期。请重新开始。"
    with translation.override("en"):
        assert wording.explain(NotFound(what="plan")) == "There is no such plan, or it is not yours to see."


def test_stored_findings_are_chinese_on_the_page_of_a_version(cast: Cast, tmp_path: Path) -> None:
    files = {"config.json": "{", "model.bin": "x", "train.py": "pass"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    report = examine({name: local_file(tmp_path / name) for name in files}, task="text-generation")
    made = create_listing(cast.acme, by=cast.owner, slug="writer", name="Writer", task="text-generation")
    Version.objects.create(
        listing=made, number=1, digest="a" * 64, task=made.task, architecture="", context_length=0,
        parameter_count=0, weight_bytes=0, memory_bytes=0, state=Version.State.REFUSED, created_by=cast.owner,
        report=report.to_json(),
    )  # fmt: skip
    page = (
        cast.browser(cast.owner).get("/studio/listings/writer/versions/1/", headers=CHINESE).content.decode()
    )
    assert "这是 pickle 格式" in page
    assert "不保留代码" in page
    assert "不是有效的 JSON" in page
    with translation.override("zh-hans"):
        english = [
            found.message for found in report.findings if wording.translate(found.message) == found.message
        ]
    assert english == []


def told_by_the_api(cast: Cast, names: list[str]) -> dict[str, Any]:
    """What the API answers to whoever declares such files."""
    files = [{"path": name, "size": 1, "sha256": f"{index:064x}"} for index, name in enumerate(names)]
    answer = cast.browser(cast.owner).post(
        "/api/listings/acme/writer/uploads/", {"files": files}, "application/json", headers=CHINESE
    )
    error: dict[str, Any] = answer.json()["error"]
    return error


def test_a_refused_upload_is_retold_in_chinese(cast: Cast) -> None:
    create_listing(cast.acme, by=cast.owner, slug="writer", name="Writer", task="text-generation")
    error = told_by_the_api(cast, ["model.bin", "weights.zip"])
    assert error["message"].startswith("model.bin: This is a pickle format")
    page = cast.browser(cast.owner).post(
        "/studio/listings/writer/upload/refusal/", error, "application/json", headers=CHINESE
    )
    shown = page.content.decode()
    assert "这是 pickle 格式" in shown
    assert "此处不解压归档文件" in shown
    assert "<code>weights.zip</code>" in shown
    assert not re.search(r"(?<!--)[A-Z][a-z]+ [a-z]+ [a-z]+", re.sub(r"<[^>]*>", "", shown))


def test_a_refusal_without_findings_is_retold_by_its_code_and_facts() -> None:
    refusal = QuotaExceeded(organisation="acme", kept=5, size=7, limit=9)
    told = {"code": refusal.code, "message": str(refusal), **refusal.data}
    with translation.override("zh-hans"):
        assert wording.retell(told) == wording.explain(refusal)
        assert "acme" in wording.retell(told)
        assert wording.retell({"code": "no_such", "message": "Words of others."}) == "Words of others."
        assert wording.retell({"code": "quota_exceeded", "message": "{organisation}"}) == "{organisation}"
    with translation.override("en"):
        assert wording.retell(told) == str(refusal)


@pytest.mark.parametrize("body", ["", "[]", "{", '{"findings": [{"file": "<b>"}]}', '{"findings": 7}'])
def test_what_is_no_refusal_is_not_retold(cast: Cast, body: str) -> None:
    create_listing(cast.acme, by=cast.owner, slug="writer", name="Writer", task="text-generation")
    url = "/studio/listings/writer/upload/refusal/"
    assert cast.browser(cast.owner).post(url, body, "application/json").status_code == 400
    assert cast.browser(cast.outsider).post(url, "{}", "application/json").status_code == 404


@pytest.mark.parametrize("phrase", PHRASES)
def test_every_phrase_is_found_again_with_its_facts(phrase: str) -> None:
    facts = {name: f"‹{name}›" for name in FACTS.findall(phrase)}
    with translation.override("zh-hans"):
        translated = wording.translate(phrase.format(**facts))
    assert re.search("[\u4e00-\u9fff]", translated)
    assert all(fact in translated for fact in facts.values())

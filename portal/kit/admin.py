"""What the operators' console has in common."""

from functools import cached_property
from typing import Any

from django.contrib.admin import ModelAdmin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

MOST_LISTED = 10_000


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Pages through the first ten thousand rows: counting millions takes longer than reading a page of them. Who looks
    for others narrows the list.
    """

    @cached_property
    def count(self) -> int:
        assert isinstance(self.object_list, QuerySet)
        return self.object_list.order_by()[:MOST_LISTED].count()


class ReadOnly:
    """To look at: nothing to add, change or delete. What changes it are the activities."""

    extra = 0
    show_change_link = True
    paginator = BoundedPaginator
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


def read_reason(request: HttpRequest) -> str | None:
    """Why an operator acts, once they have said so."""
    return request.POST.get("reason", "").strip()[:240] or None


def ask_reason(
    page: "ModelAdmin[Any]", request: HttpRequest, rows: QuerySet[Any], *, action: str, title: str
) -> HttpResponse:
    """The page between an action and its effect: on what it falls, and why. Whom it concerns reads the reason."""
    context = {
        **page.admin_site.each_context(request), "title": title, "rows": rows, "action": action,
        "checkbox": ACTION_CHECKBOX_NAME, "opts": page.model._meta,
    }  # fmt: skip
    return TemplateResponse(request, "admin/reason.html", context)

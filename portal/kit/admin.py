"""What the operators' console has in common."""

from django.db.models import Model
from django.http import HttpRequest


class ReadOnly:
    """To look at: nothing to add, change or delete. What changes it are the activities."""

    extra = 0
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

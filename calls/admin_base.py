"""What all of staff's lists and forms have in common."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from django.contrib.admin import ShowFacets
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.utils.text import capfirst
from unfold.admin import ModelAdmin

M = TypeVar("M", bound=Model)


class StaffAdmin(ModelAdmin, Generic[M]):  # type: ignore[misc]  # unfold has no types
    """What all our lists share: short pages, no needless counting, forged actions refused."""

    list_per_page = 50
    # Counting every choice of every filter takes seconds in a long list.
    show_facets = ShowFacets.NEVER
    list_filter_sheet = False
    # Shown where the list is empty: what it is for.
    empty_text = ""
    # Where nothing can be added by hand: the page where to begin instead.
    empty_link = ""
    empty_link_text = ""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        wanted = request.POST.get("action")
        if wanted and wanted not in self.get_actions(request):
            raise PermissionDenied  # Django itself would only say that nothing was selected
        context = {"title": capfirst(self.opts.verbose_name_plural), **(extra_context or {})}
        response: HttpResponse = super().changelist_view(request, context)
        return response

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        found = super().get_changelist_instance(request)
        if found.full_result_count is None and not (found.query or found.has_active_filters):
            # Nothing is hidden: the theme need not offer to "show all".
            found.full_result_count = found.result_count
        return found

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        # Django lets anybody who sees a list probe every column of it, secret ones too.
        filters = self.get_list_filter(request)
        if lookup in {getattr(f, "parameter_name", None) for f in filters}:
            return True
        declared = [f[0] if isinstance(f, tuple) else f for f in filters]
        declared = [f for f in declared if isinstance(f, str)]
        is_declared = any(lookup == f or lookup.startswith(f"{f}__") for f in declared)
        return is_declared and bool(super().lookup_allowed(lookup, value, request))

    def has_call_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return request.user.has_perm("calls.place_call")


class ReadOnlyAdmin(StaffAdmin[M]):
    """Records: looked at, never written by hand."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return False

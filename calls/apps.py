from __future__ import annotations

from django.apps import AppConfig


class CallsConfig(AppConfig):
    name = "calls"
    # As the first section of the sidebar, to which the path above a list leads.
    verbose_name = "Calling"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register our system checks, whose module needs the settings."""
        from calls import checks as checks

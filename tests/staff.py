"""Members of staff with different rights, for tests of their pages."""

from __future__ import annotations

from django.contrib.auth.models import Permission, User
from django.test import Client

VIEWER = ("calls.view_call", "calls.view_agent", "calls.view_recipient")
OPERATOR = (*VIEWER, "calls.place_call", "calls.change_recipient", "recordings.listen_recording")


def make_user(name: str, *permissions: str, is_staff: bool = True) -> User:
    """A user who has exactly these permissions (`app.codename`)."""
    user = User.objects.create_user(name, is_staff=is_staff)
    for permission in permissions:
        app, codename = permission.split(".")
        user.user_permissions.add(
            Permission.objects.get(content_type__app_label=app, codename=codename)
        )
    return user


def signed_in(user: User, *, enforce_csrf_checks: bool = False) -> Client:
    """A browser in which the user has signed in."""
    client = Client(enforce_csrf_checks=enforce_csrf_checks)
    client.force_login(user)
    return client


def visitor(role: str) -> Client:
    """A browser of somebody in one of the roles that the permission tables name."""
    match role:
        case "anonymous":
            return Client()
        case "customer":
            return signed_in(make_user("customer", *OPERATOR, is_staff=False))
        case "staff":
            return signed_in(make_user("staff without rights"))
        case "viewer":
            return signed_in(make_user("viewer", *VIEWER))
        case "operator":
            return signed_in(make_user("operator", *OPERATOR))
        case "admin":
            return signed_in(User.objects.create_superuser("admin"))
    raise ValueError(f"no such role: {role}")

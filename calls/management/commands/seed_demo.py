"""`manage.py seed_demo`: what a demonstration needs, made once and left alone afterwards."""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor

from calls.models import Agent, Recipient

STAFF = "demo"
PASSWORD = "demo"  # noqa: S105 - for a demonstration on the loopback address
AGENT = "Ada, appointments"
INSTRUCTIONS = """\
You are Ada. You call {{ first_name }} on behalf of the Lovelace practice to confirm an appointment:
{{ appointment }}. Ask whether that time is fine. If it is, confirm it, ask whether there is
anything else, say goodbye and end the call. If it is not, say that a colleague will call back.
"""
# The last four digits tell the sandbox how the person behaves.
PEOPLE = [
    ("Grace Hopper", "+14155550101", "Answers and talks"),
    ("Alan Turing", "+14155550102", "Is always on the phone: busy"),
    ("Katherine Johnson", "+14155550103", "Never answers"),
    ("Claude Shannon", "+14155550104", "The number does not exist"),
    ("Hedy Lamarr", "+14155550105", "An answering machine picks up"),
    ("Richard Feynman", "+14155550106", "Talks over the agent"),
    ("Emmy Noether", "+14155550107", "Hangs up in the middle of a sentence"),
    ("Paul Dirac", "+14155550108", "Picks up and says nothing"),
    ("Joan Clarke", "+14155550109", "Presses keys"),
    ("Edsger Dijkstra", "+14155550110", "Rejects the call"),
    ("Barbara Liskov", "+14155550120", "Answers and talks"),
    ("Ken Thompson", "+14155550121", "Answers and talks"),
]


class Command(BaseCommand):
    """Migrates if need be, and makes a staff login, an agent and recipients for the sandbox."""

    help = "Prepare a database for a demonstration against the sandbox."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        _refuse_elsewhere()
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            call_command("migrate", verbosity=0)
        with transaction.atomic():
            _make_staff()
            _make_data()


def _refuse_elsewhere() -> None:
    """A known password must not come to stand in a database that serves real calls."""
    host = urlsplit(settings.TWILIO_BASE_URL).hostname or ""
    try:
        is_local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = False
    if not is_local:
        raise CommandError(
            "seed_demo makes a login that everybody knows, so it works against the sandbox only. "
            "Set TWILIO_BASE_URL to the sandbox's address, or use: manage.py createsuperuser"
        )


def _make_staff() -> None:
    users = get_user_model().objects
    if users.filter(username=STAFF).exists():
        return
    if users.exists():
        raise CommandError(
            "This database has staff of its own and never held a demonstration. "
            "Set DATABASE_URL or VAR_DIR to another one."
        )
    users.create_superuser(STAFF, email="demo@example.test", password=PASSWORD)


def _make_data() -> None:
    Agent.objects.get_or_create(
        name=AGENT,
        defaults={
            "instructions": INSTRUCTIONS,
            "variables": ["appointment"],
            "tools": ["end_call"],
        },
    )
    for name, phone, context in PEOPLE:
        Recipient.objects.get_or_create(
            phone=phone,
            defaults={
                "name": name,
                "zone": "America/Los_Angeles",
                "context": f"Sandbox: {context[0].lower()}{context[1:]}.",
                "data": {"appointment": "Friday at ten, second floor"},
            },
        )

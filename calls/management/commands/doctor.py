"""`manage.py doctor`: is this set-up able to place a call? One line for each thing it needs."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand

from calls.doctor import inside, outside
from calls.doctor.findings import Probe, examine

PROBES = (
    Probe("configuration", inside.configuration),
    Probe("database", inside.database),
    Probe("database clock", inside.database_clock),
    Probe("broker", inside.broker),
    Probe("worker", inside.worker),
    Probe("beat", inside.beat),
    Probe("storage", inside.storage),
    Probe("public address", outside.public_address),
    Probe("signed webhook", outside.signed_webhook),
    Probe("unsigned webhook", outside.unsigned_webhook),
    Probe("media stream", outside.stream_socket),
    Probe("Twilio account", outside.twilio_credentials),
    Probe("Twilio number", outside.twilio_number),
    Probe("Twilio clock", outside.twilio_clock),
    Probe("OpenAI key", outside.openai_key),
    Probe("OpenAI session", outside.openai_session),
)


class Command(BaseCommand):
    """Asks, prints, and changes nothing; fails if anything does not work."""

    help = "Check everything that a call depends on, one line each."
    # The configuration is the first probe: its faults stand among the others.
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        failed = 0
        for finding in examine(PROBES):
            failed += not finding.is_well
            style = self.style.SUCCESS if finding.is_well else self.style.ERROR
            self.stdout.write(style(str(finding)))
        if failed:
            self.stdout.write(f"{failed} of {len(PROBES)} checks failed.")
            sys.exit(1)
        self.stdout.write("Everything works.")

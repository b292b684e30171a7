"""The last step before a process serves. Django runs its system checks for `manage.py` only."""

from __future__ import annotations

from django.core.checks import run_checks

from calls.checks import TAG
from voicecall.environment import refuse


def refuse_misfits() -> None:
    """Return if the settings fit together.

    Raises:
        Faults: one line for each that does not, with its fix.
    """
    serious = [message for message in run_checks(tags=[TAG]) if message.is_serious()]
    if serious:
        refuse([f"{message.msg} {message.hint} ({message.id})" for message in serious])

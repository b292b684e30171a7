"""Rows that conversations need."""

from __future__ import annotations

import itertools
import uuid
from typing import Any

from calls.core.brief import Brief
from calls.core.lifecycle import Status
from calls.models import Agent, Call, Recipient
from tests.realtime.talk import BRIEF

_numbers = itertools.count(1000)


def a_call(*, brief: Brief = BRIEF, **fields: Any) -> Call:
    """A call that Twilio has just been told of, unless `fields` say otherwise."""
    phone = f"+1415555{next(_numbers)}"
    agent, _ = Agent.objects.get_or_create(name="Ada", defaults={"instructions": "Talk."})
    recipient = Recipient.objects.create(name="Bo", phone=phone)
    values = {
        "agent": agent,
        "recipient": recipient,
        "request_key": uuid.uuid4().hex,
        "to_number": phone,
        "from_number": "+14155550100",
        "brief": brief.to_json(),
        "status": Status.INITIATED.value,
        "twilio_sid": f"CA{uuid.uuid4().hex}",
        **fields,
    }
    return Call.objects.create(**values)

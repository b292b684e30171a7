"""Makes calls that may be connected at once: `python -m bench.seed COUNT FORMAT`, in our product.

The rows come about as in operation, by the product's own services: asked for, claimed, accepted
by Twilio, answered. What is printed are the tickets of their streams.
"""

from __future__ import annotations

import os
import sys
import uuid

import django
import orjson


def main(count: int, audio_format: str) -> None:
    """Print the tickets of `count` calls, as JSON."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voicecall.settings")
    django.setup()
    from django.conf import settings

    from calls.models import Agent
    from calls.services import placing, recipients, streams
    from calls.signing import stream_url

    agent = Agent.objects.create(
        name=f"Bench {uuid.uuid4().hex[:8]}",
        instructions="You are talking on {{ name }}.",
        audio_format=audio_format,
    )
    people = [recipients.add(f"call-{i:04d}", f"+1415555{1000 + i}") for i in range(count)]
    requested = placing.request_calls(people, agent, by=None, request_key=uuid.uuid4().hex)
    if len(requested.queued) != count:
        raise SystemExit(f"only {len(requested.queued)} of {count} calls may be made")
    tickets = []
    for call in requested.queued:
        claimed = placing.claim(call.pk)
        sid = f"CA{uuid.uuid4().hex}"
        accepted = placing.record_accepted(claimed.token, sid) if claimed else None
        token = streams.offer(accepted) if accepted else None
        if token is None:
            raise SystemExit(f"{call.recipient.name} gets no stream")
        tickets.append(
            {
                "name": call.recipient.name,
                "url": stream_url(),
                "call_sid": sid,
                "account_sid": settings.TWILIO_ACCOUNT_SID,
                "auth_token": settings.TWILIO_AUTH_TOKEN,
                "parameters": {"token": token, "callSid": sid},
            }
        )
    tickets.sort(key=lambda ticket: str(ticket["name"]))
    sys.stdout.buffer.write(orjson.dumps(tickets) + b"\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

"""TwiML: what is read, and what follows what."""

from __future__ import annotations

import pytest
from twilio.twiml.voice_response import Connect, VoiceResponse

from sandbox.twilio import twiml
from sandbox.twilio.calls import (
    APPLICATION_ERROR,
    Callback,
    CallOrder,
    Do,
    End,
    Fetch,
    Machine,
)

ORDER = CallOrder(to="+14155550101", from_="+14155550100", url=Callback("https://h.test/a/voice"))


def test_a_document_of_twilios_own_builder_is_read() -> None:
    """The recommended answer: a stream with a parameter, then the end."""
    response = VoiceResponse()
    connect = Connect(action="https://h.test/after")
    stream = connect.stream(url="wss://h.test/ws", name="ai", status_callback="https://h.test/s")
    stream.parameter(name="token", value="one-time & <odd>")
    response.append(connect)
    response.say("Sorry.", loop=2)
    response.redirect("/resume", method="GET")
    response.pause(length=3)
    response.hangup()

    document = twiml.parse(response.to_xml().encode())

    assert document.verbs == (
        twiml.Stream(
            url="wss://h.test/ws",
            name="ai",
            parameters=(("token", "one-time & <odd>"),),
            status_callback="https://h.test/s",
            action="https://h.test/after",
        ),
        twiml.Say("Sorry.", 2),
        twiml.Redirect("/resume", "GET"),
        twiml.Pause(3),
        twiml.Hangup(),
    )


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", 12100),
        (b"<Response>", 12100),
        (b"<response/>", 12200),
        (b"<!DOCTYPE x [<!ENTITY a 'b'>]><Response/>", 12100),
        (b"<Response>" + b" " * 65536 + b"</Response>", 11750),
        (b"<Response><Pause length='long'/></Response>", 12200),
        (
            b"<Response><Connect><Stream url='wss://h'><Parameter name='a' value='"
            + b"x" * 500
            + b"'/></Stream></Connect></Response>",
            12200,
        ),
    ],
)
def test_a_bad_document_is_refused_with_the_debuggers_code(body: bytes, code: int) -> None:
    """XML first, then the schema, then the size."""
    with pytest.raises(twiml.TwimlError) as refused:
        twiml.parse(body)

    assert refused.value.code == code


def test_verbs_are_case_sensitive() -> None:
    """`<say>` is skipped with a warning."""
    document = twiml.parse(b"<Response><say>hello</say><Hangup/></Response>")

    assert document.verbs == (twiml.Hangup(),)
    assert len(document.warnings) == 1


def test_verbs_follow_each_other_and_the_end_hangs_up() -> None:
    """Without a next verb the call ends."""
    machine = Machine(ORDER)

    asked = machine.start()
    first = machine.read(b"<Response><Say>a</Say><Pause/></Response>", "https://h.test/a/voice")
    second = machine.finished()
    last = machine.finished()

    assert asked == Fetch("https://h.test/a/voice", "POST")
    assert (first, second) == (Do(twiml.Say("a")), Do(twiml.Pause()))
    assert isinstance(last, End)


def test_action_wins_over_the_next_verb() -> None:
    """And is resolved against the document's address."""
    machine = Machine(ORDER)
    machine.start()
    machine.read(
        b"<Response><Connect action='after'><Stream url='wss://h'/></Connect><Say>x</Say></Response>",
        "https://h.test/a/voice?call=1",
    )

    following = machine.finished((("StreamSid", "MZ1"),))

    assert following == Fetch("https://h.test/a/after", "POST", (("StreamSid", "MZ1"),))


def test_fallback_is_asked_once_then_an_apology_and_the_end() -> None:
    """A fallback that fails as well leaves the announcement."""
    order = CallOrder(
        to="+14155550101",
        from_="+14155550100",
        url=Callback("https://h.test/voice"),
        fallback=Callback("https://h.test/fallback"),
    )
    machine = Machine(order)
    machine.start()

    first = machine.failed(11200)
    second = machine.failed(12100)
    last = machine.finished()

    assert first == Fetch(
        "https://h.test/fallback",
        "POST",
        (("ErrorCode", "11200"), ("ErrorUrl", "https://h.test/voice")),
        is_fallback=True,
    )
    assert second == Do(twiml.Say(APPLICATION_ERROR))
    assert isinstance(last, End)


def test_documents_in_a_circle_come_to_an_end() -> None:
    """Two hundred are enough."""
    machine = Machine(ORDER)
    machine.start()
    action = None

    for _ in range(201):
        action = machine.read(b"<Response><Redirect>/voice</Redirect></Response>", "https://h.test")

    assert isinstance(action, End)

"""What a conversation reports is written once, however often and late it comes."""

from __future__ import annotations

import itertools
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from calls.core.facts import ConversationEnded, Fact, Happened, TokensUsed, TurnSaid
from calls.core.lifecycle import EndReason, Status
from calls.models import Call, CallEvent, DialingPause, Turn, Usage
from calls.services import costs, transcripts
from tests.realtime.rows import a_call

pytestmark = pytest.mark.django_db


def said(call: Call, **fields: object) -> TurnSaid:
    fact = TurnSaid(str(call.pk), "item_1", 1, "agent", "Hello", 100)
    return replace(fact, **fields)  # type: ignore[arg-type]


def test_a_turn_grows_with_each_report() -> None:
    call = a_call()

    transcripts.record([said(call, text="")])
    transcripts.record([said(call, text="Hello there"), said(call, text="Hello there", heard_ms=9)])

    turn = Turn.objects.get()
    assert (turn.text, turn.heard_ms) == ("Hello there", 9)


def test_an_old_report_does_not_undo_the_last_one() -> None:
    call = a_call()

    transcripts.record([said(call, text="Hello there", is_final=True)])
    transcripts.record([said(call, text="Hel")])

    assert Turn.objects.get().text == "Hello there"


def test_reports_that_come_twice_change_nothing() -> None:
    call = a_call()
    at = timezone.now().isoformat()
    facts: list[Fact] = [
        said(call, is_final=True),
        TokensUsed(str(call.pk), "resp_1", "response", "gpt-realtime-2.1", audio_out=91),
        TokensUsed(str(call.pk), "item_1", "transcription", "gpt-transcribe", seconds=3.2),
        Happened(str(call.pk), "1.1.model.connected", "model.connected", at, {"session": "s"}),
        ConversationEnded(str(call.pk), EndReason.AGENT_ENDED, "", at),
    ]

    for _ in range(3):
        transcripts.record(facts)

    assert (Turn.objects.count(), Usage.objects.count()) == (1, 2)
    assert Usage.objects.get(kind="transcription").seconds == Decimal("3.200")
    assert CallEvent.objects.filter(kind="model.connected").count() == 1
    assert Call.objects.get().end_reason == EndReason.AGENT_ENDED


def test_tokens_that_are_told_long_after_the_end_are_part_of_the_stored_cost() -> None:
    """A process that was killed leaves its journal to the next one."""
    at = timezone.now()
    call = a_call(status=Status.COMPLETED, answered_at=at, ended_at=at, duration_s=60)
    costs.refresh_estimate(call.pk)
    before = Call.objects.get().estimated_cost

    used = TokensUsed(str(call.pk), "resp_1", "response", "gpt-realtime-2.1", audio_out=100_000)
    transcripts.record([used])

    call.refresh_from_db()
    assert before is not None
    assert call.estimated_cost == before + Decimal("6.4")
    assert call.estimated_cost == costs.total(costs.lines(call)).amount


def test_the_first_reason_for_the_end_wins() -> None:
    call = a_call()
    at = timezone.now().isoformat()
    reasons = [EndReason.SILENCE, EndReason.MAX_DURATION]

    for reason in reasons:
        transcripts.record([ConversationEnded(str(call.pk), reason, "", at)])

    assert Call.objects.get().end_reason == EndReason.SILENCE


@pytest.mark.parametrize(
    ("code", "pauses"),
    [("invalid_api_key", 1), ("insufficient_quota", 1), ("http_401", 1), ("server_error", 0)],
)
def test_a_fault_that_every_call_would_meet_stops_dialling(code: str, pauses: int) -> None:
    """[D2] Once, with what to do; other faults stay the call's own."""
    at = timezone.now().isoformat()
    for call in (a_call(), a_call()):
        fact = ConversationEnded(str(call.pk), EndReason.MODEL_FAILED, "", at, error_code=code)

        transcripts.record([fact])

        call.refresh_from_db()
        assert call.error_code == code
    assert DialingPause.objects.filter(lifted_at=None).count() == pauses


def test_facts_of_a_call_that_is_gone_are_dropped() -> None:
    transcripts.record([TurnSaid("8a6e0804-2bd0-4672-b79d-d97027f9071a", "i", 1, "agent", "x", 0)])

    assert not Turn.objects.exists()


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("a\x00b", "ab"),
        ("a\ud800b", "a?b"),
        ("x" * 50_000, "x" * 20_000),
        ("<script>'\";--%s{}", "<script>'\";--%s{}"),
        ("\u202e Zoë 🙂\n", "\u202e Zoë 🙂\n"),
    ],
)
def test_text_that_a_database_would_refuse_is_cleaned(text: str, stored: str) -> None:
    """[A24] NUL and lone surrogates become harmless; the rest is kept as it is."""
    call = a_call()

    transcripts.record([said(call, text=text)])

    assert Turn.objects.get().text == stored


@pytest.mark.parametrize(
    ("fields", "stored"),
    [
        ({"started_ms": 10**14}, {"started_ms": 2**31 - 1}),
        ({"started_ms": -(10**25)}, {"started_ms": -(2**31) + 1}),
        ({"heard_ms": -5, "generated_ms": 10**25}, {"heard_ms": 0, "generated_ms": 2**31 - 1}),
        ({"generation": 10**6, "position": -1}, {"generation": 2**15 - 1, "position": 0}),
        ({"item_id": "i" * 99, "interrupted": True}, {"item_id": "i" * 64, "interrupted": True}),
        ({"ended_ms": 1200, "latency_sent_ms": -3}, {"ended_ms": 1200, "latency_sent_ms": -3}),
    ],
)
def test_a_turns_numbers_fit_their_columns(
    fields: dict[str, object], stored: dict[str, object]
) -> None:
    """What the vendor counts is not ours to trust; what fits is kept as it is."""
    call = a_call()

    transcripts.record([said(call, **fields)])

    assert Turn.objects.values(*stored).get() == stored


@pytest.mark.parametrize(
    ("fields", "stored"),
    [
        ({"status": "x" * 40}, {"status": "x" * 16}),
        ({"status": "a\x00", "model": "m" * 99}, {"status": "a", "model": "m" * 80}),
        ({"audio_in": 10**14, "text_out": -1}, {"audio_in": 2**31 - 1, "text_out": 0}),
        ({"seconds": 1e300}, {"seconds": Decimal("9999999.000")}),
        ({"seconds": float("nan")}, {"seconds": None}),
        ({"seconds": -1.0}, {"seconds": Decimal("0.000")}),
        ({"seconds": 3.2, "audio_in": 91}, {"seconds": Decimal("3.200"), "audio_in": 91}),
    ],
)
def test_usage_fits_its_columns(fields: dict[str, Any], stored: dict[str, object]) -> None:
    call = a_call()

    usage = TokensUsed(str(call.pk), "resp_1", "response", "gpt-realtime-2.1")
    transcripts.record([replace(usage, **fields)])

    assert Usage.objects.values(*stored).get() == stored


def test_what_the_model_says_of_its_faults_is_cleaned() -> None:
    """[A24] In the end of a conversation and on the timeline."""
    call, at = a_call(), timezone.now().isoformat()

    transcripts.record(
        [
            Happened(str(call.pk), "k\x00" * 99, "kind\x00" * 20, at, {"wh\x00y": "a\x00b"}),
            ConversationEnded(str(call.pk), EndReason.MODEL_FAILED, "server_error: a\x00b", at),
        ]
    )

    call.refresh_from_db()
    assert call.end_detail == "server_error: ab"
    assert call.events.get(kind__startswith="kind").data == {"why": "ab"}


def test_the_end_of_a_stream_that_was_replaced_does_not_end_the_call() -> None:
    """Its successor talks on; the successor's own end counts."""
    call, at = a_call(), timezone.now().isoformat()
    Call.objects.filter(pk=call.pk).update(stream_generation=2, stream_opened_at=timezone.now())
    old = ConversationEnded(str(call.pk), EndReason.SILENCE, "", at, generation=1)

    transcripts.record([old])
    before = Call.objects.get(pk=call.pk).conversation_ended_at
    transcripts.record([replace(old, reason=EndReason.AGENT_ENDED, generation=2)])

    assert before is None
    assert Call.objects.get(pk=call.pk).end_reason == EndReason.AGENT_ENDED


@pytest.mark.parametrize("in_one_batch", [False, True])
def test_any_order_of_a_turns_last_report_and_its_elders_gives_the_same_row(
    in_one_batch: bool,
) -> None:
    reports: list[dict[str, object]] = [
        {"text": ""},
        {"text": "Hello"},
        {"text": "Hello", "is_final": True, "heard_ms": 400},
    ]

    rows = set()
    for story in itertools.permutations(reports):
        call = a_call()
        facts = [said(call, **report) for report in story]
        for batch in [facts] if in_one_batch else [[fact] for fact in facts]:
            transcripts.record(batch)
        turn = Turn.objects.get(call=call)
        rows.add((turn.text, turn.heard_ms, turn.is_final))

    assert rows == {("Hello", 400, True)}


def test_every_batch_raises_the_calls_revision() -> None:
    call = a_call()

    transcripts.record([said(call)])

    assert Call.objects.get().revision == 1

"""How a recording comes home: whole and checked, or not at all and with a reason."""

from __future__ import annotations

import hashlib
import io
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from django.core.files.storage import storages
from django.db import connections
from django.utils import timezone

from calls.models import Call, CallEvent
from recordings import download, fetching, services
from recordings.core import wav
from recordings.models import Recording, RecordingStatus, recordings_storage
from tests.calls.kit import at_once
from tests.recordings import fake_twilio
from tests.recordings.conftest import all_about_to_update, make_call, make_recording
from tests.recordings.fake_twilio import Answer, FakeTwilio, talk, tone, wav_of

ROOT = Path(__file__).resolve().parents[2]
SILENCE = np.zeros(80_000, np.int16)
in_one_transaction = pytest.mark.django_db


def announced(twilio: FakeTwilio, media: bytes | None = None, **told: Any) -> Recording:
    """A recording that Twilio holds and has told us of."""
    recording = make_recording()
    twilio.has(recording.recording_sid, recording.call.twilio_sid, media, **told)
    return recording


def again(recording: Recording) -> bool:
    """Fetch it as if its pause were over."""
    Recording.objects.filter(pk=recording.pk).update(not_before=timezone.now())
    return fetching.fetch(recording.pk)


def stored(recording: Recording) -> bytes:
    """The file that staff would hear."""
    with recordings_storage().open(str(recording.file.name)) as file:
        data: bytes = file.read()
    return data


def files_of(recording: Recording) -> list[Path]:
    """Every file of the call, and every file on its way."""
    root = Path(recordings_storage().path(""))
    return [
        *root.glob(f"*/*/{recording.call_id}/*"),
        *root.glob(f".incoming/{recording.recording_sid}*"),
    ]


def state(recording: Recording) -> tuple[str, str]:
    recording.refresh_from_db()
    return recording.status, recording.problem


@in_one_transaction
def test_a_good_recording_is_stored_with_all_that_a_player_needs(twilio: FakeTwilio) -> None:
    recording = announced(twilio)

    assert fetching.fetch(recording.pk)

    recording.refresh_from_db()
    assert recording.status == RecordingStatus.READY
    assert stored(recording) == talk()
    assert recording.sha256 == hashlib.sha256(talk()).hexdigest()
    assert (recording.channels, recording.rate_hz, recording.duration_ms) == (2, 8000, 10_000)
    assert recording.size_bytes == len(talk())
    assert len(recording.peaks["left"]) * recording.peaks["step_ms"] >= 10_000
    assert max(recording.peaks["left"]) == 37
    assert files_of(recording) == [Path(recordings_storage().path(str(recording.file.name)))]


@in_one_transaction
def test_staff_see_that_it_is_ready(twilio: FakeTwilio) -> None:
    recording = announced(twilio)

    fetching.fetch(recording.pk)

    call = Call.objects.get(pk=recording.call_id)
    assert call.revision > 0
    assert CallEvent.objects.filter(call=call, kind="recording.ready").count() == 1


@in_one_transaction
def test_both_channels_are_asked_for_with_our_credentials(
    twilio: FakeTwilio, settings: Any
) -> None:
    """[E8] Media are asked for with credentials, whether or not the account demands them."""
    recording = announced(twilio)

    fetching.fetch(recording.pk)

    request = twilio.asked_for(".wav")[0]
    account = settings.TWILIO_ACCOUNT_SID
    assert (
        request.path == f"/2010-04-01/Accounts/{account}/Recordings/{recording.recording_sid}.wav"
    )
    assert request.query == {"RequestedChannels": ["2"]}
    assert request.headers["authorization"].startswith("Basic ")


@in_one_transaction
def test_what_is_not_ready_yet_is_asked_for_again_after_longer_and_longer_pauses(
    twilio: FakeTwilio,
) -> None:
    """[E2] 404 and "processing" mean later; the row shows it."""
    recording = announced(twilio)
    twilio.told[recording.recording_sid].status = "processing"
    twilio.answers = [fake_twilio.status(404)]

    assert not fetching.fetch(recording.pk)
    first = state(recording)
    first_pause = recording.not_before - timezone.now()
    twilio.told[recording.recording_sid].status = "completed"
    assert not again(recording)
    second = state(recording)
    second_pause = recording.not_before - timezone.now()
    assert not fetching.fetch(recording.pk)
    assert again(recording)

    assert first == ("pending", "Twilio is still preparing the recording.")
    assert second == ("pending", "Twilio does not have the recording ready yet.")
    assert first_pause < second_pause
    assert state(recording) == ("ready", "")


def test_the_pauses_grow_to_a_quarter_of_an_hour_and_no_further() -> None:
    pauses = [services.pause(attempts).total_seconds() for attempts in (1, 2, 3, 9, 10, 100)]

    assert pauses == [2, 4, 8, 512, 900, 900]


@in_one_transaction
def test_a_recording_that_never_comes_is_given_up_after_a_day(twilio: FakeTwilio) -> None:
    """[E2] The last word is a state with a reason, not an endless wait."""
    recording = announced(twilio)
    twilio.answers = [fake_twilio.status(404)] * 9
    Recording.objects.filter(pk=recording.pk).update(
        created_at=timezone.now() - timedelta(hours=25)
    )

    for _ in range(3):
        again(recording)

    status, problem = state(recording)
    assert status == RecordingStatus.FAILED
    assert problem == "Given up after a day. Twilio does not have the recording ready yet."
    assert recording.error_code == "20404"


CUTS = sorted(random.Random(11).sample(range(len(talk())), 12))  # noqa: S311


@pytest.mark.parametrize("at", [0, 1, 44, int(len(talk()) * 0.8), len(talk()) - 1, *CUTS])
@pytest.mark.parametrize("kind", [fake_twilio.cut, fake_twilio.cut_chunks])
@in_one_transaction
def test_a_connection_cut_anywhere_leaves_nothing_and_the_next_try_succeeds(
    twilio: FakeTwilio, at: int, kind: Any
) -> None:
    """[E3] A truncated body is never ready, however it was sent."""
    recording = announced(twilio)
    twilio.answers = [kind(talk(), at)]

    assert not fetching.fetch(recording.pk)
    after_cut = state(recording)[0], files_of(recording), recording.problem
    assert again(recording)

    assert after_cut[:2] == ("pending", [])
    assert "download from Twilio failed" in after_cut[2]
    assert state(recording)[0] == "ready"
    assert stored(recording) == talk()


@pytest.mark.parametrize("missing", [4, 400, 16_000, 100_000, 320_000])
@in_one_transaction
def test_a_body_without_a_length_is_judged_by_its_content(twilio: FakeTwilio, missing: int) -> None:
    """[E3] Where the transfer cannot tell that it was cut, the header and the duration do."""
    recording = announced(twilio)
    twilio.answers = [fake_twilio.without_length(talk()[:-missing])]

    assert not fetching.fetch(recording.pk)

    assert state(recording)[0] == "pending"
    assert files_of(recording) == []
    assert again(recording)


@in_one_transaction
def test_a_file_shorter_than_twilio_says_is_not_the_whole_recording(twilio: FakeTwilio) -> None:
    """[E3] A well-formed file of 8 of 10 seconds is refused, and rejected if it stays so."""
    recording = announced(twilio, talk(8.0), duration_s=10)

    for _ in range(3):
        assert not again(recording)

    assert state(recording) == (
        "rejected",
        "The recording was cut off: 8.0 s came, of 10 s.",
    )


@in_one_transaction
def test_wrong_sizes_in_the_header_are_mended_and_not_held_against_it(twilio: FakeTwilio) -> None:
    """[E3] Twilio's RIFF sizes can be wrong in files written as a stream."""
    media = talk()
    at = media.index(b"data") + 4
    recording = announced(twilio, media[:at] + b"\xff\xff\xff\xff" + media[at + 4 :])

    assert fetching.fetch(recording.pk)

    recording.refresh_from_db()
    assert stored(recording) == media


HTML = b"<!DOCTYPE html><title>Sorry</title>"


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (fake_twilio.body(HTML, "text/html; charset=utf-8"), "Twilio sent text/html"),
        (fake_twilio.body(HTML), "HTML or XML"),
        (fake_twilio.body(b'{"code":20404}', "application/json"), "application/json"),
        (fake_twilio.body(b'{"code":20404}'), "JSON"),
        (fake_twilio.body(b"ID3" + bytes(9000), "audio/mpeg"), "audio/mpeg"),
        (fake_twilio.body(b"ID3" + bytes(9000)), "MP3"),
        (fake_twilio.body(b""), "empty"),
        (fake_twilio.body(wav_of(tone(1, 0), tone(1, 0))), "without audio"),
    ],
)
@in_one_transaction
def test_the_wrong_thing_is_doubted_at_first_and_rejected_if_it_repeats(
    twilio: FakeTwilio, answer: Answer, problem: str
) -> None:
    """[E4] HTML, JSON, MP3 and nothing at all are never served."""
    recording = announced(twilio)
    twilio.answers = [answer] * 3

    states = []
    for _ in range(3):
        assert not again(recording)
        states.append(state(recording)[0])

    assert states == ["pending", "pending", "rejected"]
    assert problem in recording.problem
    assert files_of(recording) == []


@in_one_transaction
def test_one_wrong_thing_after_a_long_wait_is_a_passing_fault_too(twilio: FakeTwilio) -> None:
    """[E3, E4] What counts is how often something wrong came, not how often we asked."""
    recording = announced(twilio)
    waits = [fake_twilio.status(404), fake_twilio.status(503), fake_twilio.cut(talk(), 9000)]
    wrong = [fake_twilio.body(HTML), fake_twilio.without_length(talk()[:-16_000])]
    twilio.answers = [*waits, *wrong]

    for _ in twilio.answers.copy():
        assert not again(recording)
        assert state(recording)[0] == "pending"

    assert again(recording)
    assert state(recording) == ("ready", "")
    assert stored(recording) == talk()


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (fake_twilio.body(wav_of(tone(300, 10))), "one channel"),
        (fake_twilio.status(400, b'{"code":16113,"message":"mono"}'), "one channel"),
        (
            fake_twilio.status(
                400, b"<RestException><Code>16113</Code></RestException>", "application/xml"
            ),
            "one channel",
        ),
        (fake_twilio.body(wav_of(SILENCE, SILENCE)), "nothing but silence"),
        (fake_twilio.body(wav_of(SILENCE + 8, SILENCE - 8)), "nothing but silence"),
        (
            fake_twilio.body(wav_of(tone(300, 20), tone(300, 20), rate_hz=16_000)),
            "16000 samples a second",
        ),
    ],
)
@in_one_transaction
def test_audio_that_is_whole_but_useless_is_rejected_at_once(
    twilio: FakeTwilio, answer: Answer, problem: str
) -> None:
    """[E4] One channel, silence only and other rates are rejected with the reason."""
    recording = announced(twilio)
    twilio.answers = [answer]

    assert not fetching.fetch(recording.pk)

    assert state(recording)[0] == "rejected"
    assert problem in recording.problem
    assert files_of(recording) == []


@in_one_transaction
def test_one_silent_voice_is_no_reason_to_reject(twilio: FakeTwilio) -> None:
    recording = announced(twilio, wav_of(SILENCE, tone(300, 10)))

    assert fetching.fetch(recording.pk)


@in_one_transaction
def test_a_full_disk_parks_the_recording_and_is_reported(
    twilio: FakeTwilio, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """[E5] Free space is checked first; the recording waits, and an error is logged."""
    recording = announced(twilio)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))

        assert not fetching.fetch(recording.pk)

    assert state(recording) == ("pending", "The disk for recordings is full. Make room.")
    assert twilio.asked_for(".wav") == []
    assert "ERROR" in {record.levelname for record in caplog.records}
    assert again(recording)


@in_one_transaction
def test_what_waits_for_somebody_to_mend_it_is_never_given_up(
    twilio: FakeTwilio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[E5, E8] A disk that is full over the weekend costs no recording: Twilio still has it."""
    recording = announced(twilio)
    Recording.objects.filter(pk=recording.pk).update(
        created_at=timezone.now() - timedelta(days=3), attempts=50
    )

    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
        assert not again(recording)
    full = state(recording)
    twilio.answers = [fake_twilio.status(401)]
    assert not again(recording)

    assert full == ("pending", "The disk for recordings is full. Make room.")
    assert state(recording)[0] == "pending"
    assert again(recording)


FILE_LIMIT = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import django
django.setup()
from recordings import fetching
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
fetching.fetch(int(sys.argv[1]))
"""
FETCH = """
import sys
import django
django.setup()
from recordings import fetching
fetching.fetch(int(sys.argv[1]))
"""


def run_worker(
    recording: Recording, twilio: FakeTwilio, database: str, code: str = FETCH, **env: str
) -> int:
    """Fetch the recording in a process of its own; return how that ended."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "voicecall.settings",
        "DATABASE_URL": database,
        "TWILIO_BASE_URL": twilio.url,
        "PYTHONPATH": str(ROOT),
        **env,
    }
    command = [sys.executable, "-W", "ignore", "-c", code, str(recording.pk)]
    return subprocess.run(command, env=environment, check=False, timeout=60).returncode


# On SQLite the limit would hit the database's own file too.
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_write_that_fails_half_way_leaves_no_file(twilio: FakeTwilio, database: str) -> None:
    """[E5] The disk refuses to take more: what there was is removed, and the row says why."""
    recording = announced(twilio)

    assert run_worker(recording, twilio, database, FILE_LIMIT) == 0

    status, problem = state(recording)
    assert status == "pending"
    assert "could not be stored" in problem
    assert files_of(recording) == []


@pytest.mark.parametrize("point", ["recordings.mid_download", "recordings.before_rename"])
def test_a_worker_killed_at_work_leaves_nothing_that_anyone_could_hear(
    twilio: FakeTwilio, database: str, point: str
) -> None:
    """[E6] After SIGKILL no half file is visible, and the next try succeeds and cleans up."""
    recording = announced(twilio, talk(30.0), duration_s=30)

    code = run_worker(recording, twilio, database, VOICECALL_FAILPOINTS=f"{point}=kill")

    assert code == -signal.SIGKILL
    assert state(recording)[0] == "fetching"
    assert [path.suffix for path in files_of(recording)] == [".part"]
    assert not fetching.fetch(recording.pk)  # its lease still runs

    later = timezone.now() + timedelta(minutes=3)
    assert recording in Recording.objects.filter(services.due(later))
    Recording.objects.filter(pk=recording.pk).update(lease_expires_at=timezone.now())
    assert fetching.fetch(recording.pk)
    services.sweep(timezone.now())

    recording.refresh_from_db()
    assert stored(recording) == talk(30.0)
    assert [path.suffix for path in files_of(recording)] == [".wav"]


def test_two_workers_at_once_make_one_file_and_one_row(twilio: FakeTwilio, database: str) -> None:
    """[E7] The claim lets one of them through; the other does nothing."""
    recording = announced(twilio)
    gate = threading.Barrier(8)

    def work(_: int) -> bool:
        with all_about_to_update("recordings_recording", gate):
            return fetching.fetch(recording.pk)

    results = at_once(8, work)

    assert sorted(results) == [False] * 7 + [True]
    assert len(twilio.asked_for(".wav")) == 1
    assert len(files_of(recording)) == 1
    assert Recording.objects.filter(call=recording.call).count() == 1


def test_who_lost_the_lease_stops_and_touches_nothing(twilio: FakeTwilio, database: str) -> None:
    """[E7] A worker taken for dead comes back: the row belongs to its successor."""
    recording = announced(twilio)

    def taken_over_meanwhile(handler: fake_twilio.Handler) -> None:
        Recording.objects.update(attempts=2, problem="with another")
        connections.close_all()
        handler.send(200, talk())

    twilio.answers = [taken_over_meanwhile]

    assert not fetching.fetch(recording.pk)

    assert state(recording) == ("fetching", "with another")
    assert files_of(recording) == []


@pytest.mark.parametrize(
    "answer",
    [
        fake_twilio.body(wav_of(tone(300, 10))),
        fake_twilio.body(HTML),
        fake_twilio.status(404),
        fake_twilio.cut(talk(), 9000),
    ],
    ids=["useless", "doubtful", "not there", "cut off"],
)
def test_who_lost_the_lease_spoils_nothing_by_failing_either(
    twilio: FakeTwilio, database: str, answer: Answer
) -> None:
    """[E7] What it got says nothing about what its successor is getting."""
    recording = announced(twilio)
    Recording.objects.update(doubts=2)

    def taken_over_meanwhile(handler: fake_twilio.Handler) -> None:
        Recording.objects.update(attempts=2, problem="with another")
        connections.close_all()
        answer(handler)

    twilio.answers = [taken_over_meanwhile]

    assert not fetching.fetch(recording.pk)

    assert state(recording) == ("fetching", "with another")
    assert files_of(recording) == []


@pytest.mark.parametrize("code", [401, 403])
@in_one_transaction
def test_refused_credentials_are_reported_and_tried_again(
    twilio: FakeTwilio, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """[E8] After the key was rotated the recording comes."""
    recording = announced(twilio)
    twilio.answers = [fake_twilio.status(code)]

    assert not fetching.fetch(recording.pk)

    assert "Check TWILIO_ACCOUNT_SID" in state(recording)[1]
    assert "ERROR" in {record.levelname for record in caplog.records}
    assert again(recording)


@pytest.mark.parametrize(
    ("status", "code", "ours", "problem"),
    [
        ("absent", 16101, "absent", "The call was too short to be recorded. (Twilio's code 16101)"),
        ("absent", None, "absent", "Twilio made no recording of this call, and gives no reason."),
        ("failed", 99999, "failed", "Twilio could not finish the recording (Twilio's code 99999)."),
        ("deleted", None, "failed", "was deleted at Twilio before"),
    ],
)
@in_one_transaction
def test_a_recording_that_will_never_be_ends_with_twilio_s_reason(
    twilio: FakeTwilio, status: str, code: int | None, ours: str, problem: str
) -> None:
    """[E9] absent and failed are final, with the code in plain words."""
    recording = announced(twilio, status=status, error_code=code)

    assert not fetching.fetch(recording.pk)

    assert state(recording)[0] == ours
    assert problem in recording.problem
    assert recording.error_code == (str(code) if code else "")
    assert not again(recording)
    assert twilio.asked_for(".wav") == []


@in_one_transaction
def test_the_recording_of_another_call_is_rejected(twilio: FakeTwilio) -> None:
    recording = make_recording()
    twilio.has(recording.recording_sid, "CA" + uuid4().hex)

    assert not fetching.fetch(recording.pk)

    assert state(recording) == (
        "rejected",
        "Twilio says that this recording belongs to another call.",
    )
    assert twilio.asked_for(".wav") == []


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1:1/secret.wav",
        "http://localhost/secret.wav",
        "https://[::1]/a.wav",
        "file:///etc/passwd",
        "ftp://media.twiliocdn.com/a.wav",
        "http://media.twiliocdn.com/a.wav",
        "https://media.twiliocdn.com:8443/a.wav",
        "https://twilio.com.example.test/a.wav",
        "https://twilio.com@example.test/a.wav",
        "https://user:secret@media.twiliocdn.com/a.wav",
        "https://example.test/?x=.twilio.com",
        "https://s3.amazonaws.com.example.test/a.wav",
        "https://ec2.amazonaws.com/a.wav",
        "https://media.twiliocdn.com:99999/a.wav",
        "//example.test/a.wav",
        "https://[bad/a.wav",
    ],
)
@in_one_transaction
def test_a_redirect_out_of_twilio_s_world_is_not_followed(
    twilio: FakeTwilio, location: str
) -> None:
    """[E10] Other hosts, schemes, ports and credentials are refused before connecting."""
    recording = announced(twilio)
    twilio.answers = [fake_twilio.redirect(location)]

    assert not fetching.fetch(recording.pk)

    assert state(recording)[0] == "pending"
    assert recording.problem.startswith("Twilio redirects to an address")
    assert len(twilio.asked_for(".wav")) == 1


@pytest.mark.parametrize(
    "address", ["10.0.0.7", "127.0.0.1", "169.254.169.254", "fd00::1", "0.0.0.0"]
)
@in_one_transaction
def test_a_good_name_that_leads_into_a_private_network_is_not_followed(
    twilio: FakeTwilio, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[E10] The name is resolved first: private addresses are refused, even beside a public one."""
    recording = announced(twilio)
    twilio.answers = [fake_twilio.redirect("https://media.twiliocdn.com/a.wav")]
    with monkeypatch.context() as patch:
        resolve = socket.getaddrinfo
        entries = [(2, 1, 6, "", (found, 443)) for found in ("52.0.0.1", address)]
        patch.setattr(
            "socket.getaddrinfo",
            lambda host, *args, **options: (
                entries if host == "media.twiliocdn.com" else resolve(host, *args, **options)
            ),
        )

        assert not fetching.fetch(recording.pk)

    assert state(recording) == (
        "pending",
        "Twilio redirects to an address inside a private network.",
    )


@pytest.mark.parametrize(
    "host",
    [
        "api.twilio.com",
        "media.twiliocdn.com",
        "com.twilio.music.s3.amazonaws.com",
        "bucket.s3.us-east-1.amazonaws.com",
        "s3-external-1.amazonaws.com",
    ],
)
def test_twilio_s_own_stores_are_followed(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("52.0.0.1", 443))])
    location = f"https://{host}/a.wav?X-Amz-Signature=abc"

    assert download._next_address("https://api.twilio.com/a.wav", location) == location


@in_one_transaction
def test_a_redirect_is_followed_without_our_credentials(twilio: FakeTwilio) -> None:
    """[E10] Who the redirect leads to never learns our password."""
    recording = announced(twilio)
    twilio.answers = [fake_twilio.redirect("/store/signed.wav?key=1"), fake_twilio.body(talk())]

    assert fetching.fetch(recording.pk)

    first, second = twilio.asked_for(".wav")
    assert "authorization" in first.headers
    assert second.path == "/store/signed.wav"
    assert "authorization" not in second.headers


@in_one_transaction
def test_the_body_of_a_redirect_is_not_read(twilio: FakeTwilio) -> None:
    """[E11] A redirect may have an endless body as well."""
    recording = announced(twilio)
    twilio.answers = [fake_twilio.endless_redirect("/store/signed.wav"), fake_twilio.body(talk())]

    assert fetching.fetch(recording.pk)


@in_one_transaction
def test_redirects_in_a_circle_end(twilio: FakeTwilio) -> None:
    recording = announced(twilio)
    twilio.answers = [fake_twilio.redirect("/again.wav")] * 20

    assert not fetching.fetch(recording.pk)

    assert state(recording) == ("pending", "Twilio redirects without an end.")
    assert len(twilio.asked_for(".wav")) == 4


@in_one_transaction
def test_an_endless_body_is_cut_where_the_call_must_have_ended(twilio: FakeTwilio) -> None:
    """[E11] The size is bounded by the call's duration, whatever is or is not announced."""
    recording = announced(twilio)
    twilio.answers = [fake_twilio.endless(talk())]

    assert not fetching.fetch(recording.pk)

    assert state(recording)[0] == "pending"
    assert recording.problem == (
        "The recording is larger than the call can have lasted (over 2.2 MB)."
    )
    assert files_of(recording) == []


@in_one_transaction
def test_four_gigabytes_are_refused_before_the_first_byte(twilio: FakeTwilio) -> None:
    """[E11] An announced length beyond the call's duration is not even begun."""
    recording = announced(twilio)
    twilio.answers = [
        lambda handler: handler.send(200, b"RIFF", length=4_000_000_000),
    ]

    assert not fetching.fetch(recording.pk)

    assert "larger than the call" in state(recording)[1]


@in_one_transaction
def test_a_body_that_drips_is_given_up_at_the_deadline(
    twilio: FakeTwilio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[E11] Time is bounded too: a byte now and then passes every other timeout."""
    recording = announced(twilio)
    monkeypatch.setattr(download, "DEADLINE_S", -1.0)

    assert not fetching.fetch(recording.pk)

    assert "took more than" in state(recording)[1]


def sound_of(*speaking: bool) -> np.ndarray[Any, np.dtype[np.int16]]:
    """A second of voice for each True, of silence for each False."""
    return np.concatenate([tone(300, 1.0) if speaks else SILENCE[:8000] for speaks in speaking])


PERSON = (False, True, False, False, True, False, False, False, False, False)
AGENT = (True, False, False, True, False, True, False, False, False, False)


@pytest.mark.parametrize("swapped", [False, True])
@in_one_transaction
def test_left_is_the_person_and_right_the_agent_when_each_speaks_in_the_transcript(
    twilio: FakeTwilio, settings: Any, swapped: bool
) -> None:
    """[E16] Proven by energy against the turns; a setting mends an account that has it reversed."""
    settings.RECORDING_SWAP_CHANNELS = swapped
    person, agent = sound_of(*PERSON), sound_of(*AGENT)
    media = wav_of(agent, person) if swapped else wav_of(person, agent)
    recording = announced(twilio, media)
    for second, (person_speaks, agent_speaks) in enumerate(zip(PERSON, AGENT, strict=True)):
        if person_speaks or agent_speaks:
            recording.call.turns.create(
                item_id=str(second),
                position=second,
                speaker="recipient" if person_speaks else "agent",
                started_ms=second * 1000,
                ended_ms=second * 1000 + 1000,
            )

    assert fetching.fetch(recording.pk)

    recording.refresh_from_db()
    file = io.BytesIO(stored(recording))
    left, right = wav.split(file, wav.read(file))
    for turn in recording.call.turns.all():
        spoken = slice(turn.started_ms * 8, (turn.ended_ms or 0) * 8)
        energy = {
            "recipient": float(np.sum(left[spoken].astype(float) ** 2)),
            "agent": float(np.sum(right[spoken].astype(float) ** 2)),
        }
        assert energy[turn.speaker] > 0
        assert sum(energy.values()) == energy[turn.speaker]
        step = turn.started_ms / recording.peaks["step_ms"]
        lane = "left" if turn.speaker == "recipient" else "right"
        assert recording.peaks[lane][int(step) + 5] > 30


@in_one_transaction
def test_a_storage_that_is_no_file_system_gets_the_whole_file_at_once(
    twilio: FakeTwilio, settings: Any
) -> None:
    settings.STORAGES = {
        **settings.STORAGES,
        "recordings": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    }
    recording = announced(twilio)
    twilio.answers = [fake_twilio.cut(talk(), 5000)]

    assert not fetching.fetch(recording.pk)
    before = storages["recordings"].listdir("")
    assert again(recording)

    recording.refresh_from_db()
    assert before == ([], [])
    assert not Path(str(recording.file.name)).exists()
    assert stored(recording) == talk()


@in_one_transaction
def test_a_call_of_unknown_length_may_be_as_long_as_any(twilio: FakeTwilio) -> None:
    recording = make_recording(make_call(duration_s=None))
    twilio.has(recording.recording_sid, recording.call.twilio_sid, talk(40), duration_s=None)

    assert fetching.fetch(recording.pk)

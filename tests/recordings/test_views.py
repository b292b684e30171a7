"""Listening: who may, and which bytes a player gets."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Permission, User
from django.core.files.base import ContentFile
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import reverse
from django.utils import timezone

from calls.core.lifecycle import Status
from recordings.core import ranges
from recordings.core.ranges import NotSatisfiable, Span
from recordings.models import Recording, RecordingSearch, recordings_storage
from tests.recordings.conftest import make_call, make_recording
from tests.recordings.fake_twilio import talk

SOUND = talk(1.0)
SIZE = len(SOUND)


def make_user(*permissions: str, is_staff: bool = True) -> User:
    user = User.objects.create(username=f"user-{uuid4()}", is_staff=is_staff)
    for codename in permissions:
        user.user_permissions.add(Permission.objects.get(codename=codename))
    return user


def ready() -> Recording:
    """A recording that can be heard."""
    recording = make_recording(
        status="ready", duration_ms=1000, channels=2, peaks={"left": [1], "right": [2]}
    )
    name = f"2026/11/{recording.call_id}/{recording.recording_sid}.wav"
    recording.file = recordings_storage().save(name, ContentFile(SOUND))
    recording.save()
    return recording


def audio(recording: Recording) -> str:
    return reverse("recording-audio", args=[recording.call_id])


def info(recording: Recording) -> str:
    return reverse("recording-info", args=[recording.call_id])


def body(answer: Any) -> bytes:
    return b"".join(answer.streaming_content) if answer.streaming else answer.content


@pytest.fixture
def listener(db: None) -> Client:
    """Staff who may listen."""
    client = Client()
    client.force_login(make_user("listen_recording"))
    return client


def test_a_listener_gets_the_whole_sound_and_nothing_may_keep_it(listener: Client) -> None:
    """[E14] The answer is never stored on the way."""
    answer = listener.get(audio(ready()))

    assert answer.status_code == 200
    assert body(answer) == SOUND
    assert answer["Content-Type"] == "audio/wav"
    assert answer["Content-Length"] == str(SIZE)
    assert answer["Accept-Ranges"] == "bytes"
    assert {"no-store", "private"} <= set(answer["Cache-Control"].split(", "))
    assert answer["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-99", 0, 99),
        ("bytes=0-", 0, SIZE - 1),
        ("bytes=100-100", 100, 100),
        ("bytes=-50", SIZE - 50, SIZE - 1),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE - 1),
        (f"bytes=10-{SIZE + 5000}", 10, SIZE - 1),
        (f"bytes=-{SIZE + 1}", 0, SIZE - 1),
        ("Bytes = 5 - 9", 5, 9),
    ],
)
def test_a_player_may_seek_anywhere(listener: Client, header: str, first: int, last: int) -> None:
    """[E14] Ranges are exact: a click in the player lands where it should."""
    answer = listener.get(audio(ready()), headers={"Range": header})

    assert answer.status_code == 206
    assert body(answer) == SOUND[first : last + 1]
    assert answer["Content-Range"] == f"bytes {first}-{last}/{SIZE}"
    assert answer["Content-Length"] == str(last - first + 1)


@pytest.mark.parametrize("header", [f"bytes={SIZE}-", "bytes=9999999-99999999", "bytes=-0"])
def test_a_range_beyond_the_end_is_refused_with_the_size(listener: Client, header: str) -> None:
    """[E14] 416 tells the player how much there is."""
    answer = listener.get(audio(ready()), headers={"Range": header})

    assert answer.status_code == 416
    assert answer["Content-Range"] == f"bytes */{SIZE}"
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=5-2",
        "bytes=0-1,5-9",
        "lines=1-2",
        "bytes=" + "9" * 5000 + "-",
        "bytes=١-٢",
    ],
)
def test_a_range_that_cannot_be_understood_gets_everything(listener: Client, header: str) -> None:
    """[E14] RFC 9110 lets the server ignore it."""
    answer = listener.get(audio(ready()), headers={"Range": header.encode().decode("latin-1")})

    assert answer.status_code == 200
    assert body(answer) == SOUND


def test_an_empty_file_has_no_range() -> None:
    with pytest.raises(NotSatisfiable):
        ranges.parse("bytes=0-", 0)
    assert ranges.parse("bytes=3-4", 9) == Span(3, 4)


def test_asking_for_the_head_sends_no_sound(listener: Client) -> None:
    answer = listener.head(audio(ready()))

    assert answer.status_code == 200
    assert answer["Content-Length"] == str(SIZE)
    assert body(answer) == b""


def test_it_can_be_saved_as_a_file(listener: Client) -> None:
    recording = ready()

    answer = listener.get(audio(recording) + "?download")

    assert answer["Content-Disposition"] == f'attachment; filename="call-{recording.call_id}.wav"'
    assert body(answer) == SOUND


@pytest.mark.parametrize("range_header", ["", "bytes=100-70000"])
@pytest.mark.django_db
def test_the_event_loop_sends_the_same_bytes_piece_by_piece(range_header: str) -> None:
    recording = ready()
    client = AsyncClient()
    client.force_login(make_user("listen_recording"))

    async def listen() -> tuple[bool, list[bytes]]:
        answer: Any = await client.get(audio(recording), headers={"Range": range_header})
        return answer.is_async, [piece async for piece in answer]

    is_async, pieces = async_to_sync(listen)()

    assert is_async
    assert b"".join(pieces) == (SOUND[100:] if range_header else SOUND)


@pytest.mark.parametrize("address", [audio, info])
@pytest.mark.parametrize(
    ("permissions", "is_staff", "status"),
    [
        ((), True, 403),
        (("view_call", "view_recording", "place_call"), True, 403),
        (("listen_recording",), False, 403),
        (("listen_recording",), True, 200),
    ],
)
@pytest.mark.django_db
def test_only_staff_who_may_listen_get_anything(
    permissions: tuple[str, ...], is_staff: bool, status: int, address: Any
) -> None:
    """[E14] Seeing a call is not hearing it."""
    recording = ready()
    client = Client()
    client.force_login(make_user(*permissions, is_staff=is_staff))

    answer = client.get(address(recording))

    assert answer.status_code == status
    assert (SOUND in body(answer)) == (status == 200 and address is audio)


@pytest.mark.parametrize("address", [audio, info])
@pytest.mark.django_db
def test_a_link_alone_opens_nothing(address: Any) -> None:
    """[E14] Who is not signed in is sent to sign in, also with a link that worked before."""
    answer = Client().get(address(ready()))

    assert answer.status_code == 302
    assert answer["Location"].startswith(reverse("admin:login"))


@pytest.mark.parametrize("lost", ["permission", "account", "session"])
@pytest.mark.django_db
def test_a_link_stops_working_when_the_right_to_it_ends(lost: str) -> None:
    """[E14] The right is asked for anew with every request, each range included."""
    recording = ready()
    user = make_user("listen_recording")
    client = Client()
    client.force_login(user)
    assert body(client.get(audio(recording), headers={"Range": "bytes=0-9"})) == SOUND[:10]

    if lost == "permission":
        user.user_permissions.clear()
    elif lost == "account":
        User.objects.filter(pk=user.pk).update(is_active=False)
    else:
        client.logout()

    answer = client.get(audio(recording), headers={"Range": "bytes=10-19"})
    assert answer.status_code in (302, 403)
    assert answer.status_code == (403 if lost == "permission" else 302)


def test_a_guessed_id_finds_nothing(listener: Client) -> None:
    """[E14] An unknown call is 404, whatever else is asked."""
    for name in ("recording-audio", "recording-info"):
        assert listener.get(reverse(name, args=[uuid4()])).status_code == 404


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
def test_listening_changes_nothing(listener: Client, method: str) -> None:
    answer: HttpResponse = getattr(listener, method)(audio(ready()))

    assert answer.status_code == 405


@pytest.mark.parametrize("status", ["pending", "fetching", "absent", "rejected", "failed"])
def test_what_is_not_ready_cannot_be_heard_and_says_why(listener: Client, status: str) -> None:
    """[E4] What was rejected is never served."""
    recording = ready()
    Recording.objects.filter(pk=recording.pk).update(status=status, problem="It is so.")

    told = listener.get(info(recording)).json()

    assert listener.get(audio(recording)).status_code == 404
    assert (told["status"], told["problem"], told["url"]) == (status, "It is so.", None)


def test_a_player_is_told_all_that_it_needs(listener: Client) -> None:
    recording = ready()

    answer = listener.get(info(recording))

    assert "no-store" in answer["Cache-Control"]
    told = answer.json()
    assert told["status"] == "ready"
    assert told["duration_ms"] == 1000
    assert told["peaks"] == {"left": [1], "right": [2]}
    assert body(listener.get(told["url"])) == SOUND


def test_a_call_whose_recording_is_on_its_way_says_so(listener: Client) -> None:
    call = make_call()

    told = listener.get(reverse("recording-info", args=[call.pk])).json()

    assert (told["status"], told["status_label"]) == ("pending", "Waiting for Twilio")


def test_a_call_that_nobody_answered_has_no_recording(listener: Client) -> None:
    call = make_call(status=Status.NO_ANSWER.value, answered_at=None)

    told = listener.get(reverse("recording-info", args=[call.pk])).json()

    assert (told["status"], told["status_label"]) == ("absent", "There is none")


def test_a_search_that_was_given_up_is_shown(listener: Client) -> None:
    """[E1] After a day the page says that Twilio has none."""
    call = make_call(ended_at=timezone.now() - timedelta(days=2))
    RecordingSearch.objects.create(call=call, gave_up_at=timezone.now())

    told = listener.get(reverse("recording-info", args=[call.pk])).json()

    assert told["status"] == "absent"
    assert told["problem"] == "Twilio has no recording of this call."


def test_a_file_that_has_gone_from_the_storage_is_an_error_in_the_log(
    listener: Client, caplog: pytest.LogCaptureFixture
) -> None:
    recording = ready()
    recordings_storage().delete(str(recording.file.name))

    assert listener.get(audio(recording)).status_code == 404
    assert "is not in the storage" in caplog.text


@pytest.mark.django_db
def test_the_list_shows_how_far_recordings_have_come_and_lets_nobody_edit_them() -> None:
    client = Client()
    client.force_login(User.objects.create(username="boss", is_staff=True, is_superuser=True))
    recording = ready()
    make_recording(status="rejected", problem="It is <b>so</b>.")

    page = client.get(reverse("admin:recordings_recording_changelist"))
    detail = client.get(reverse("admin:recordings_recording_change", args=[recording.pk]))

    text = page.content.decode()
    assert page.status_code == detail.status_code == 200
    assert "Not usable" in text
    assert "It is &lt;b&gt;so&lt;/b&gt;." in text
    assert reverse("call-page", args=[recording.call_id]) in text
    assert 'name="_save"' not in detail.content.decode()
    assert client.get(reverse("admin:recordings_recording_add")).status_code == 403

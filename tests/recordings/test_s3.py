"""Recordings in S3: the same way home, against a server that speaks S3 over a real socket."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from recordings import fetching
from recordings.models import recordings_storage
from tests.recordings import fake_twilio
from tests.recordings.conftest import make_recording
from tests.recordings.fake_twilio import FakeTwilio, talk

pytestmark = pytest.mark.django_db
BUCKET = "voicecall-recordings"


class S3Handler(BaseHTTPRequestHandler):
    """Objects of one bucket: put, head, get, delete."""

    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]
    puts: list[str]

    def log_message(self, format: str, *args: object) -> None:
        """Tests need no log of it."""

    @property
    def key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix(f"/{BUCKET}/")

    def do_PUT(self) -> None:
        """Store an object."""
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if "aws-chunked" in self.headers.get("Content-Encoding", ""):
            data = _unchunked(data)
        self.objects[self.key] = data
        self.puts.append(self.key)
        self._answer(200, b"")

    def do_HEAD(self) -> None:
        """Tell whether there is an object."""
        self.do_GET()

    def do_GET(self) -> None:
        """Send an object."""
        data = self.objects.get(self.key)
        self._answer(404 if data is None else 200, data or b"")

    def do_DELETE(self) -> None:
        """Forget an object."""
        self.objects.pop(self.key, None)
        self._answer(204, b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"0"')
        self.send_header("Last-Modified", "Mon, 23 Nov 2026 10:00:00 GMT")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _unchunked(data: bytes) -> bytes:
    """The payload of an upload in signed or checksummed chunks."""
    found = b""
    while match := re.match(rb"([0-9a-fA-F]+)[^\r]*\r\n", data):
        size = int(match[1], 16)
        found += data[match.end() : match.end() + size]
        data = data[match.end() + size + 2 :]
        if size == 0:
            break
    return found


@pytest.fixture
def s3(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[S3Handler]]:
    """The recordings' storage is S3."""
    handler = type("Bound", (S3Handler,), {"objects": {}, "puts": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    settings.STORAGES = {
        **settings.STORAGES,
        "recordings": {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": {
                "bucket_name": BUCKET,
                "endpoint_url": f"http://127.0.0.1:{server.server_port}",
                "default_acl": None,
                "file_overwrite": False,
                "addressing_style": "path",
            },
        },
    }
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_recording_goes_to_s3_as_a_whole_and_comes_back(
    s3: type[S3Handler], twilio: FakeTwilio
) -> None:
    recording = make_recording()
    twilio.has(recording.recording_sid, recording.call.twilio_sid)
    twilio.answers = [fake_twilio.cut(talk(), 70_000), fake_twilio.body(talk())]

    assert not fetching.fetch(recording.pk)
    after_cut = dict(s3.objects)
    type(recording).objects.update(not_before=recording.created_at)
    assert fetching.fetch(recording.pk)

    recording.refresh_from_db()
    name = str(recording.file.name)
    assert after_cut == {}
    assert s3.objects == {name: talk()}
    with recordings_storage().open(name) as file:
        assert file.size == len(talk())
        file.seek(1000)
        assert file.read(500) == talk()[1000:1500]


def test_what_a_killed_try_left_in_s3_is_replaced(s3: type[S3Handler], twilio: FakeTwilio) -> None:
    """[E6] One object per recording, also after a kill between storing and recording it."""
    recording = make_recording()
    twilio.has(recording.recording_sid, recording.call.twilio_sid)
    name = f"{recording.call.created_at:%Y/%m}/{recording.call_id}/{recording.recording_sid}.wav"
    s3.objects[name] = b"RIFF, and no more"

    assert fetching.fetch(recording.pk)

    assert s3.objects == {name: talk()}

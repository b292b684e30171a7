"""Staff's door to recordings: who may listen, and the bytes that a player asks for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from functools import wraps
from typing import Final
from uuid import UUID

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.core.files.base import File
from django.core.handlers.asgi import ASGIRequest
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from calls.models import Call
from recordings import services
from recordings.core import problems, ranges
from recordings.core.ranges import NotSatisfiable, Span
from recordings.models import Recording, RecordingStatus, recordings_storage
from recordings.storage import STORAGE_ERRORS

logger = logging.getLogger(__name__)

PERMISSION: Final = "recordings.listen_recording"
_BLOCK_BYTES: Final = 65536
View = Callable[[HttpRequest, UUID], HttpResponseBase]


def _for_listeners(view: View) -> View:
    """Let in staff who may listen; asked anew at every request, so that a link is worth nothing."""

    @require_safe
    @never_cache
    @wraps(view)
    def guarded(request: HttpRequest, call_id: UUID) -> HttpResponseBase:
        user = request.user
        if not user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        if not (user.is_active and user.is_staff and user.has_perm(PERMISSION)):
            logger.warning("call %s: user %s may not listen to it", call_id, user.pk)
            raise PermissionDenied
        return view(request, call_id)

    return guarded


@_for_listeners
def info(request: HttpRequest, call_id: UUID) -> HttpResponseBase:
    """How the call's recording stands, and what a player needs: address, duration and peaks."""
    call = get_object_or_404(Call, pk=call_id)
    recording = services.best_of(call)
    if recording is None:
        return JsonResponse(_nothing_yet(call))
    is_ready = recording.status == RecordingStatus.READY
    return JsonResponse(
        {
            "status": recording.status,
            "status_label": recording.get_status_display(),
            "problem": recording.problem,
            "error_code": recording.error_code,
            "duration_ms": recording.duration_ms,
            "channels": recording.channels,
            "size_bytes": recording.size_bytes,
            "peaks": recording.peaks,
            "url": reverse("recording-audio", args=[call.pk]) if is_ready else None,
            "is_deleted_at_twilio": recording.deleted_at_twilio_at is not None,
        }
    )


def _nothing_yet(call: Call) -> dict[str, object]:
    never = call.state.is_terminal and not services.may_have_recording(call)
    given_up = services.is_given_up(call)
    status = RecordingStatus.ABSENT if never or given_up else RecordingStatus.PENDING
    return {
        "status": status.value,
        "status_label": status.label,
        "problem": problems.NEVER_ANNOUNCED if given_up else "",
        "error_code": "",
        "duration_ms": None,
        "channels": None,
        "size_bytes": None,
        "peaks": {},
        "url": None,
        "is_deleted_at_twilio": False,
    }


@_for_listeners
def audio(request: HttpRequest, call_id: UUID) -> HttpResponseBase:
    """The stereo WAV of a call, whole or in part; `?download` saves it as a file."""
    call = get_object_or_404(Call, pk=call_id)
    recording = services.best_of(call)
    if recording is None or recording.status != RecordingStatus.READY:
        raise Http404
    file = _open(recording)
    size = file.size
    try:
        span = ranges.parse(request.headers.get("Range", ""), size)
    except NotSatisfiable:
        file.close()
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})
    wanted = span or Span(0, size - 1)
    answer = StreamingHttpResponse(
        _body(request, file, wanted), status=206 if span else 200, content_type="audio/wav"
    )
    if span is not None:
        answer["Content-Range"] = f"bytes {wanted.first}-{wanted.last}/{size}"
    answer["Content-Length"] = str(wanted.length)
    answer["Accept-Ranges"] = "bytes"
    kind = "attachment" if "download" in request.GET else "inline"
    answer["Content-Disposition"] = f'{kind}; filename="call-{call.pk}.wav"'
    return answer


def _open(recording: Recording) -> File[bytes]:
    try:
        return recordings_storage().open(recording.file.name or "", "rb")
    except STORAGE_ERRORS as exc:
        logger.error("call %s: its recording is not in the storage", recording.call_id)  # noqa: TRY400
        raise Http404 from exc


def _body(request: HttpRequest, file: File[bytes], span: Span) -> _Body | _AsyncBody:
    # Each server wants its own kind: the other one would be read into memory as a whole.
    file.seek(span.first)
    kind = _AsyncBody if isinstance(request, ASGIRequest) else _Body
    return kind(file, 0 if request.method == "HEAD" else span.length)


class _Body:
    """A part of a file, in blocks; the response closes it."""

    def __init__(self, file: File[bytes], length: int) -> None:
        self._file = file
        self._left = length

    def __iter__(self) -> Iterator[bytes]:
        while block := self._read():
            yield block

    def _read(self) -> bytes:
        block: bytes = self._file.read(min(_BLOCK_BYTES, self._left))
        self._left -= len(block)
        return block

    def close(self) -> None:
        self._file.close()


class _AsyncBody(_Body):
    """The same for an event loop, which must not wait for the disk."""

    __iter__ = None  # type: ignore[assignment]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while block := await asyncio.to_thread(self._read):
            yield block

"""Twilio's REST API over HTTP: doors only; what they do is in `carrier` and `orders`.

Source: Twilio, Call, Recording, IncomingPhoneNumber and Account resources; twilio.md A and E.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from aiohttp import web

from sandbox.twilio import media_files
from sandbox.twilio.calls import (
    API_VERSION,
    RESOURCE_STATUSES,
    Call,
    formatted,
    number_sid,
    rfc2822,
)
from sandbox.twilio.carrier import Carrier
from sandbox.twilio.errors import ApiError
from sandbox.twilio.guard import Guard, Work, fields_of
from sandbox.twilio.orders import Form, read_order, read_recording, read_update
from sandbox.twilio.paging import is_within, page
from sandbox.twilio.recordings import STATUSES_OF_UPDATE, Recording

Json = dict[str, Any]


class Rest:
    """The routes under /2010-04-01, for one account."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._state = carrier.state
        self._guard = Guard(carrier.state, self._callee)

    def routes(self) -> list[web.RouteDef]:
        """Everything that is imitated; the rest is 404 with code 20404."""
        account = f"/{API_VERSION}/Accounts/{{account}}"
        calls, recordings = f"{account}/Calls", f"{account}/Recordings"
        call, recording = f"{calls}/{{call}}", f"{recordings}/{{recording}}"
        of_call = f"{call}/Recordings"
        table: list[tuple[str, str, str, Work]] = [
            ("GET", f"{account}.json", "account", self._account),
            ("GET", f"{account}/Balance.json", "account", self._balance),
            ("GET", f"{account}/IncomingPhoneNumbers.json", "numbers", self._numbers),
            ("GET", f"{account}/IncomingPhoneNumbers/{{number}}.json", "numbers", self._one_number),
            ("GET", f"{account}/OutgoingCallerIds.json", "caller-ids", self._caller_ids),
            ("POST", f"{calls}.json", "create", self._create_call),
            ("GET", f"{calls}.json", "list", self._list_calls),
            ("GET", f"{call}.json", "fetch", self._fetch_call),
            ("POST", f"{call}.json", "update", self._update_call),
            ("DELETE", f"{call}.json", "delete", self._delete_call),
            ("GET", f"{recordings}.json", "recordings.list", self._list_recordings),
            ("GET", f"{of_call}.json", "recordings.list", self._list_recordings),
            ("POST", f"{of_call}.json", "recordings.create", self._create_recording),
            ("GET", f"{recording}.json", "recordings.fetch", self._fetch_recording),
            ("GET", f"{of_call}/{{recording}}.json", "recordings.fetch", self._fetch_recording),
            (
                "POST",
                f"{of_call}/{{recording}}.json",
                "recordings.update",
                self._update_recording,
            ),
            ("DELETE", f"{recording}.json", "recordings.delete", self._delete_recording),
            (
                "DELETE",
                f"{of_call}/{{recording}}.json",
                "recordings.delete",
                self._delete_recording,
            ),
        ]
        routes = [
            web.route(method, path, self._guard.wrap(name, work))
            for method, path, name, work in table
        ]
        media = self._guard.bare("recording.media", self._media)
        routes += [web.get(path, media) for path in (recording, f"{recording}.wav")]
        routes.append(
            web.route("*", f"/{API_VERSION}{{tail:.*}}", self._guard.wrap("none", _nothing))
        )
        return routes

    # --- account ---------------------------------------------------------------------------------

    async def _account(self, request: web.Request) -> web.Response:
        sid = self._state.options.account_sid
        body: Json = {
            "sid": sid,
            "friendly_name": "Sandbox",
            "status": "active",
            "type": "Full",
            "owner_account_sid": sid,
            "auth_token": self._state.options.auth_token,
            "date_created": rfc2822(self._state.clock.utc()),
            "date_updated": rfc2822(self._state.clock.utc()),
            "uri": f"/{API_VERSION}/Accounts/{sid}.json",
            "subresource_uris": {},
        }
        return web.json_response(body)

    async def _balance(self, request: web.Request) -> web.Response:
        sid = self._state.options.account_sid
        return web.json_response({"account_sid": sid, "balance": "100.00", "currency": "USD"})

    async def _numbers(self, request: web.Request) -> web.Response:
        wanted = request.query.get("PhoneNumber", "")
        found = [
            self._number(number) for number in self._state.options.numbers if wanted in ("", number)
        ]
        return page(request, "incoming_phone_numbers", found)

    async def _one_number(self, request: web.Request) -> web.Response:
        for number in self._state.options.numbers:
            if number_sid(number) == request.match_info["number"]:
                return web.json_response(self._number(number))
        raise ApiError(20404, f"The requested resource {request.path} was not found")

    async def _caller_ids(self, request: web.Request) -> web.Response:
        return page(request, "outgoing_caller_ids", [])  # no number of others was verified

    def _number(self, number: str) -> Json:
        account, sid = self._state.options.account_sid, number_sid(number)
        return {
            "sid": sid,
            "account_sid": account,
            "phone_number": number,
            "friendly_name": formatted(number),
            "capabilities": {"voice": True, "sms": True, "mms": False, "fax": False},
            "status": "in-use",
            "voice_url": "",
            "uri": f"/{API_VERSION}/Accounts/{account}/IncomingPhoneNumbers/{sid}.json",
        }

    # --- calls -----------------------------------------------------------------------------------

    async def _create_call(self, request: web.Request) -> web.Response:
        form = Form(await fields_of(request))
        order = read_order(form, numbers=self._state.options.numbers)
        behaviour = self._carrier.people.at(order.to)
        if behaviour.refuse_code:
            raise ApiError(behaviour.refuse_code)
        is_early = self._state.faults.take("rest.create", "early", call=order.to)
        running = self._carrier.create(order)
        body = running.call.to_json(self._state.clock.utc())
        if is_early:
            await running.first_report.wait()
        return web.json_response(body, status=201)

    def _callee(self, request: web.Request) -> str:
        """The number that was called in the call that a request is about."""
        found, query = request.match_info, request.query
        recording = self._carrier.recordings.get(found.get("recording", "").partition(".")[0])
        sid = recording.call_sid if recording else found.get("call") or query.get("CallSid", "")
        call = self._carrier.calls.get(sid)
        return call.to if call else query.get("To", "")

    def _call(self, request: web.Request) -> Call:
        call = self._carrier.calls.get(request.match_info["call"])
        if call is None or call.is_deleted:
            raise ApiError(20404, f"The requested resource {request.path} was not found")
        return call

    def _seen(self, call: Call) -> Json:
        """The call as a reader sees it, a little behind."""
        lag = timedelta(seconds=self._state.options.consistency_lag_s)
        return call.to_json(self._state.clock.utc() - lag)

    async def _fetch_call(self, request: web.Request) -> web.Response:
        return web.json_response(self._seen(self._call(request)))

    async def _list_calls(self, request: web.Request) -> web.Response:
        query = request.query
        if (status := query.get("Status")) and status not in RESOURCE_STATUSES:
            raise ApiError(20001, f"Invalid parameter Status: '{status}'")
        lag = timedelta(seconds=self._state.options.consistency_lag_s)
        # Whoever lists at once does not find what was created a moment ago.
        since = self._state.clock.utc() - lag
        calls = [
            call
            for call in reversed(self._carrier.calls.values())
            if not call.is_deleted and call.created_at <= since
        ]
        wanted = {
            "to": "To",
            "from": "From",
            "status": "Status",
            "parent_call_sid": "ParentCallSid",
        }
        found = [
            seen
            for call in calls
            for seen in [self._seen(call)]
            if all(query.get(key) in (None, seen[name]) for name, key in wanted.items())
            and is_within(query, "StartTime", call.start_time or call.created_at)
            and is_within(query, "EndTime", call.end_time)
        ]
        return page(request, "calls", found)

    async def _update_call(self, request: web.Request) -> web.Response:
        call, update = self._call(request), read_update(Form(await fields_of(request)))
        running = self._carrier.running[call.sid]
        is_answered = call.status == "in-progress"
        if call.is_over or ((update.url or update.twiml) and not is_answered):
            raise ApiError(21220)
        if update.status == "completed" or (update.status and not is_answered):
            running.hang_up()
        elif update.url or update.twiml:
            running.redirect(update.url, update.twiml)
        if update.time_limit_s is not None:
            running.limit(update.time_limit_s)
        if update.status_callback is not None:
            running.report_to(update.status_callback)
        if update.fallback is not None:
            running.fall_back_on(update.fallback)
        return web.json_response(call.to_json(self._state.clock.utc()))

    async def _delete_call(self, request: web.Request) -> web.Response:
        call = self._call(request)
        if not call.is_over:
            raise ApiError(20009)
        call.is_deleted = True
        return web.Response(status=204)

    # --- recordings ------------------------------------------------------------------------------

    def _recording(self, request: web.Request) -> Recording:
        sid = request.match_info["recording"].removesuffix(".wav")
        recording = self._carrier.recordings.get(sid)
        if "call" in request.match_info:
            of_call = self._carrier.recordings_of(request.match_info["call"])
            if sid == "Twilio.CURRENT":
                recording = next((r for r in of_call if r.is_running), None)
            elif recording not in of_call:
                recording = None
        if recording is None:
            raise ApiError(20404, f"The requested resource {request.path} was not found")
        return recording

    async def _media(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith(".mp3"):
            raise ApiError(20001, "MP3 is not imitated here; ask for .wav", status=501)
        recording = self._recording(request)
        return await media_files.serve(request, recording, self._state, self._callee(request))

    async def _list_recordings(self, request: web.Request) -> web.Response:
        call_sid = request.match_info.get("call") or request.query.get("CallSid")
        deleted = request.query.get("IncludeSoftDeleted", "").lower() == "true"
        found = [
            recording.to_json()
            for recording in reversed(self._carrier.recordings.values())
            if call_sid in (None, recording.call_sid)
            and (deleted or recording.status != "deleted")
            and is_within(request.query, "DateCreated", recording.started_at)
        ]
        return page(request, "recordings", found)

    async def _fetch_recording(self, request: web.Request) -> web.Response:
        recording = self._recording(request)
        deleted = request.query.get("IncludeSoftDeleted", "").lower() == "true"
        if recording.status == "deleted" and not deleted:
            raise ApiError(20404, f"The requested resource {request.path} was not found")
        return web.json_response(recording.to_json())

    async def _create_recording(self, request: web.Request) -> web.Response:
        call, form = self._call(request), Form(await fields_of(request))
        if call.status != "in-progress":
            raise ApiError(21220, "Requested resource is not eligible for recording")
        order = read_recording(form, "StartCallRecordingAPI")
        recording = self._carrier.start_recording(call, order)
        return web.json_response(recording.to_json(), status=201)

    async def _update_recording(self, request: web.Request) -> web.Response:
        recording, form = self._recording(request), Form(await fields_of(request))
        status = form.one_of("Status", STATUSES_OF_UPDATE, "")
        if not recording.is_running:
            raise ApiError(21220, "Recording is not in-progress")
        if status == "stopped":
            self._carrier.finish_recording(recording)
            return web.json_response(recording.to_json() | {"status": "stopped"})
        recording.status = status
        recording.skips_pauses = form.get("PauseBehavior") == "skip"
        return web.json_response(recording.to_json())

    async def _delete_recording(self, request: web.Request) -> web.Response:
        recording = self._recording(request)
        if recording.status == "deleted":
            raise ApiError(20404, f"The requested resource {request.path} was not found")
        if recording.status in ("in-progress", "paused", "processing"):
            raise ApiError(20009)
        recording.delete(self._state.clock.utc())
        return web.Response(status=204)


async def _nothing(request: web.Request) -> web.StreamResponse:
    raise ApiError(20404, f"The requested resource {request.path} was not found")

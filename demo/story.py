"""The demonstration call, placed as staff place calls and told as it happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from demo.console import Console
from demo.processes import Died, Process
from demo.staff import Lost, Staff, page_data

STAFF, PASSWORD = "demo", "demo"
# All answer and talk. The second is for a start right after a kill in the middle of a call.
PEOPLE = ["+14155550101", "+14155550120", "+14155550121"]
_POLL_S = 0.1
_CALL_S = 90.0
_RECORDING_S = 30.0
_WIDTH = 8


def await_pages(base_url: str, web: Process, *, timeout_s: float) -> None:
    """Return when the web process serves pages.

    Raises:
        Died: it ended, or the deadline passed.
    """
    deadline = time.monotonic() + timeout_s
    with requests.Session() as http:
        http.trust_env = False
        while time.monotonic() < deadline:
            web.check()
            try:
                # The socket listens already: the question waits until there is somebody to answer.
                if http.get(f"{base_url}/healthz", timeout=5).ok:
                    return
            except requests.RequestException:
                time.sleep(_POLL_S)
    raise Died(f"No page was served within {timeout_s:g} s.\n{web.tail()}")


def tell(console: Console, base_url: str, recordings: Path, check: Callable[[], None]) -> bool:
    """Place the call and tell it; return whether it went as it should."""
    staff = Staff(base_url)
    try:
        staff.log_in(STAFF, PASSWORD)
        page = _call_somebody(staff)
        told = _Story(console, staff, page_data(page), check)
        told.follow()
        told.close(page.url, recordings)
    except (Lost, requests.RequestException) as exc:
        console.say(f"The demonstration call could not be placed: {exc}", style="red")
        return False
    finally:
        console.say()
        console.say(f"Admin      {base_url}/admin/   login {STAFF}, password {PASSWORD}")
    return told.went_well


def _call_somebody(staff: Staff) -> requests.Response:
    for phone in PEOPLE:
        page = staff.call(phone)
        if page is not None:
            return page
    raise Lost("nobody of the demonstration can be called now.")


@dataclass
class _Story:
    console: Console
    staff: Staff
    page: dict[str, Any]
    check: Callable[[], None]
    went_well: bool = False
    _said: set[str] = field(default_factory=set)
    _status: str = ""
    _feed: dict[str, Any] = field(default_factory=dict)

    def follow(self) -> None:
        """Tell the call until it is over, from the page's own feed."""
        names = self.page["names"]
        self.console.say(f"\nCalling {names['person']} …", style="bold")
        for feed in self._news():
            if feed["status_label"] != self._status:
                self._status = feed["status_label"]
                self.console.say(f"{'':{_WIDTH}}   {self._status}", style="dim")
            self._tell_turns(feed["turns"], everything=not feed["is_live"])
        if self._feed.get("is_live", True):
            raise Lost(f"it was not over after {_CALL_S:g} s.")
        spoke = {turn["speaker"] for turn in self._feed["turns"] if turn["text"]}
        self.went_well = self._feed["status"] == "completed" and spoke == {"agent", "recipient"}
        ending = self._feed["end_reason_label"] or self._feed["status_label"]
        self.console.say(f"{'':{_WIDTH}}   {ending}", style="" if self.went_well else "red")

    def _news(self) -> Iterator[dict[str, Any]]:
        """Each new state of the call, until it is over or the deadline has passed."""
        deadline = time.monotonic() + _CALL_S
        yield self.page["feed"]
        revision = self.page["feed"]["revision"]
        while time.monotonic() < deadline:
            self.check()
            feed = self.staff.json(f"{self.page['urls']['feed']}?after={revision}")
            if "turns" in feed:
                revision, self._feed = feed["revision"], feed
                yield feed
                if not feed["is_live"] and all(turn["is_final"] for turn in feed["turns"]):
                    return
            time.sleep(_POLL_S)

    def _tell_turns(self, turns: list[dict[str, Any]], *, everything: bool) -> None:
        for turn in turns:
            if turn["item_id"] in self._said or not turn["text"]:
                continue
            if not turn["is_final"] and not everything:
                return  # in the order of the conversation
            self._said.add(turn["item_id"])
            self.console.say(_line_of(turn))

    def close(self, url: str, recordings: Path) -> None:
        """Say where the recording lies, what the call cost, and where to look."""
        self.console.say()
        recording = self._await_recording()
        if recording.get("status") == "ready":
            length_s = recording["duration_ms"] / 1000
            call_id = url.rstrip("/").rpartition("/")[2]
            place = next(recordings.rglob(f"{call_id}/*.wav"), recording["url"])
            self.console.say(f"Recording  {place}")
            self.console.say(f"{'':{_WIDTH}}   {length_s:.1f} s; left the person, right the agent")
        else:
            self.went_well = False
            problem = recording.get("problem") or f"not there after {_RECORDING_S:g} s"
            self.console.say(f"Recording  {problem}", style="red")
        totals = self.staff.json(f"{self.page['urls']['feed']}?after=-1")["cost"]["totals"]
        cost = ", ".join(f"{amount} {label.lower()}" for label, amount in totals) or "unknown"
        self.console.say(f"Cost       {cost}, at list prices; the sandbox bills nothing")
        self.console.say(f"This call  {url}")

    def _await_recording(self) -> dict[str, Any]:
        path = self.page["urls"]["recording"]
        deadline = time.monotonic() + _RECORDING_S
        recording: dict[str, Any] = {}
        while time.monotonic() < deadline:
            self.check()
            recording = self.staff.json(path)
            if recording.get("status") not in {None, "none", "pending", "fetching"}:
                break
            time.sleep(_POLL_S)
        return recording


def _line_of(turn: dict[str, Any]) -> str:
    who = "agent" if turn["speaker"] == "agent" else "person"
    minutes, seconds = divmod(turn["started_ms"] / 1000, 60)
    latency_ms = turn["latency_heard_ms"] or turn["latency_sent_ms"]
    latency = f"   ({latency_ms / 1000:.2f} s after the person)" if latency_ms is not None else ""
    cut = " …interrupted" if turn["interrupted"] else ""
    return f"{int(minutes):02}:{seconds:04.1f}    {who:<7} {turn['text']}{cut}{latency}"

"""A member of staff at work over HTTP: what they would click, in the pages they would open."""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

import requests

_TIMEOUT_S = 15.0


class Lost(Exception):
    """A page does not hold what staff would click next."""


@dataclass(frozen=True, slots=True)
class Form:
    """A form of a page: where it goes, and its fields as they stand."""

    action: str
    fields: dict[str, str]


class Staff:
    """One logged-in browser session, without scripts."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._http = requests.Session()
        # A proxy of the shell's has no business between us and our own machine.
        self._http.trust_env = False

    def log_in(self, username: str, password: str) -> None:
        """Through the admin's login page.

        Raises:
            Lost: it was refused.
        """
        page = self._get("/admin/login/?next=/admin/")
        form = _form_with(page, "password")
        form.fields.update(username=username, password=password)
        if "/login/" in self._post(page, form).url:
            raise Lost(f"The login {username} was refused.")

    def call(self, phone: str) -> requests.Response | None:
        """From the list of recipients to the confirmation page, and press the button.

        Return the call's page, or None if the person cannot be called now.
        """
        found = self._get(f"/admin/calls/recipient/?q={phone.lstrip('+')}")
        person = self._get(_link(found, r"/admin/calls/recipient/\d+/change/[^\"]*"))
        page = self._get(_link(person, r"[^\"]*/call-now/?"))
        form = _form_with(page, "request_key")
        if re.search(r"<button[^>]*\bdisabled\b", page.text):
            return None
        answer = self._post(page, form)
        return answer if re.search(r"/calls/[0-9a-f-]{36}/$", answer.url) else None

    def json(self, path: str) -> Any:
        """Ask a page's own feed."""
        answer = self._http.get(urljoin(self._base_url, path), timeout=_TIMEOUT_S)
        answer.raise_for_status()
        return answer.json()

    def _get(self, path: str) -> requests.Response:
        page = self._http.get(urljoin(self._base_url, path), timeout=_TIMEOUT_S)
        page.raise_for_status()
        return page

    def _post(self, page: requests.Response, form: Form) -> requests.Response:
        answer = self._http.post(
            urljoin(page.url, form.action),
            data=form.fields,
            headers={"Referer": page.url},
            timeout=_TIMEOUT_S,
        )
        answer.raise_for_status()
        return answer


def page_data(page: requests.Response) -> dict[str, Any]:
    """What a call's page tells its own script."""
    found = re.search(r'<script id="call-data" type="application/json">(.*?)</script>', page.text)
    if found is None:
        raise Lost(f"{page.url} is not a call's page.")
    data: dict[str, Any] = json.loads(found.group(1))
    return data


def _link(page: requests.Response, pattern: str) -> str:
    found = re.search(rf'href="({pattern})"', page.text)
    if found is None:
        raise Lost(f"{page.url} has no link like {pattern}.")
    return html.unescape(found.group(1))


def _form_with(page: requests.Response, field: str) -> Form:
    for head, body in re.findall(r"<form\b([^>]*)>(.*?)</form>", page.text, re.DOTALL):
        inputs = [_attributes(tag) for tag in re.findall(r"<input\b([^>]*)>", body)]
        fields = {i["name"]: i.get("value", "") for i in inputs if "name" in i}
        if field in fields:
            return Form(_attributes(head).get("action", ""), fields)
    raise Lost(f"{page.url} has no form with {field}.")


def _attributes(tag: str) -> dict[str, str]:
    return {name: html.unescape(value) for name, value in re.findall(r'([\w-]+)="([^"]*)"', tag)}

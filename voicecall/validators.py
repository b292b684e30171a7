"""What a setting must look like, where the library has no word for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import available_timezones

import dj_database_url
from marshmallow import ValidationError, validate
from phonenumbers import SUPPORTED_REGIONS

from calls.core.hours import Window

is_http_url = validate.URL(schemes={"http", "https"}, require_tld=False)
is_socket_url = validate.URL(schemes={"ws", "wss"}, require_tld=False)
is_host = validate.Regexp(r"^(\*|\.?[\w.-]+|\[[0-9a-fA-F:]+\])$")
is_pair = validate.Regexp(r"^[^=]*[^=\s][^=]*=\s*\S")
is_origin = validate.Regexp(r"^https?://[^/]+$")


def each(check: Callable[[str], object]) -> Callable[[list[str]], None]:
    """Refuse a list with an element that `check` refuses."""

    def check_all(values: list[str]) -> None:
        for value in values:
            check(value.strip())

    return check_all


def is_public_address(value: str) -> None:
    """Refuse more than scheme, host and port: pages and webhooks lie at the root of the host."""
    is_http_url(value)
    parts = urlsplit(value)
    if parts.path.rstrip("/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValidationError("Only scheme, host and port")


def is_zone(value: str) -> None:
    """Refuse what is no time zone."""
    if value not in available_timezones():
        raise ValidationError(f"{value} is not a time zone")


def is_region(value: str) -> None:
    """Refuse what is no country with telephones."""
    if value not in SUPPORTED_REGIONS:
        raise ValidationError(f"{value} is not a country's code")


def are_hours(value: str) -> None:
    """Refuse what is no part of a day."""
    try:
        Window.parse(value)
    except ValueError as exc:
        raise ValidationError("Not the hours of a day") from exc


def is_database_url(value: str) -> None:
    """Refuse what is no address of a database."""
    try:
        parsed = dj_database_url.parse(value)
    except ValueError as exc:
        raise ValidationError("Not a valid URL") from exc
    if not parsed["ENGINE"].endswith(("sqlite3", "postgresql")):
        raise ValidationError("Only postgres:// and sqlite:// are supported")


def is_redis_url(value: str) -> None:
    """Refuse what is no address of a Redis server."""
    _check_server(value, {"redis", "rediss"})


def is_broker_url(value: str) -> None:
    """Refuse what is no address of a broker."""
    if not value.startswith("filesystem://"):
        _check_server(value, {"redis", "rediss", "amqp", "amqps"})


def _check_server(url: str, schemes: set[str]) -> None:
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    if not is_whole:
        raise ValidationError("Not a valid URL")


def is_writable_folder(value: str) -> None:
    """Refuse a folder that cannot be made, or not be written to."""
    try:
        Path(value).mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ValidationError(f"{value} cannot be made: {exc.strerror}") from exc
    if not os.access(value, os.W_OK | os.X_OK):
        raise ValidationError(f"{value} is not writable for this user")


def has_s3_library(value: str) -> None:
    """Refuse a bucket where nothing can speak to it."""
    if find_spec("storages") is None or find_spec("boto3") is None:
        raise ValidationError("django-storages[s3] is not installed")

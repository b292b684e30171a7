"""docker-compose.yml and what lies beside it: valid by the specification, and fit together."""

from __future__ import annotations

import json
import re
import urllib.request
from importlib.resources import files
from typing import Any

import pytest
import yaml
from django.test import Client
from django.utils import timezone
from jsonschema.validators import validator_for

from calls.models import Heartbeat
from tests.docs.test_configuration import read_by_settings
from tests.servers import ROOT

OURS = ("web", "media", "worker", "beat")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


@pytest.fixture(scope="module")
def caddyfile() -> str:
    return (ROOT / "deploy" / "Caddyfile").read_text()


def test_it_is_valid_by_the_compose_specification(compose: dict[str, Any]) -> None:
    """The schema is the specification's own, as the package check-jsonschema ships it."""
    vendored = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(vendored.read_text())

    faults = sorted(validator_for(schema)(schema).iter_errors(compose), key=str)

    assert faults == []


def test_the_schema_refuses_what_is_wrong(compose: dict[str, Any]) -> None:
    vendored = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(vendored.read_text())
    wrong = {**compose, "services": {**compose["services"], "web": {"comand": "daphne"}}}

    assert not validator_for(schema)(schema).is_valid(wrong)


def test_everything_is_watched_and_comes_back(compose: dict[str, Any]) -> None:
    services = dict(compose["services"])
    once = services.pop("migrate")

    assert once["restart"].startswith("on-failure")
    for name, service in services.items():
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"], name
        assert service["stop_grace_period"], name


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["web", "media", "beat"])
def test_a_health_check_asks_an_address_that_answers(
    name: str, compose: dict[str, Any], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own code is run here, and what it asks is asked of the product."""
    Heartbeat.objects.create(name="beat", at=timezone.now())
    asked: list[str | urllib.request.Request] = []
    monkeypatch.setattr(urllib.request, "urlopen", lambda what, timeout: asked.append(what))

    exec(compose["services"][name]["healthcheck"]["test"][-1])  # noqa: S102

    (what,) = asked
    request = urllib.request.Request(what) if isinstance(what, str) else what  # noqa: S310
    host = request.get_header("Host", request.host)
    answer = client.get(request.selector, headers={"host": host})
    assert answer.status_code == 200, answer.content


def test_nothing_of_ours_runs_before_the_tables_are_there(compose: dict[str, Any]) -> None:
    for name in OURS:
        waits = compose["services"][name]["depends_on"]
        assert waits["migrate"]["condition"] == "service_completed_successfully", name
        assert waits["redis"]["condition"] == "service_healthy", name
    assert compose["services"]["migrate"]["depends_on"]["db"]["condition"] == "service_healthy"


def test_a_worker_is_given_longer_than_a_task_may_take(compose: dict[str, Any]) -> None:
    from django.conf import settings

    assert compose["services"]["worker"]["stop_grace_period"] == "2m"
    assert settings.CELERY_TASK_TIME_LIMIT < 120


def test_only_the_proxy_can_be_reached_from_outside(compose: dict[str, Any]) -> None:
    open_to_all = {name for name, s in compose["services"].items() if s.get("ports")}

    assert open_to_all == {"proxy"}


def test_every_volume_is_named_and_used(compose: dict[str, Any]) -> None:
    used = {
        volume.split(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
        if not volume.startswith(".")
    }

    assert used == set(compose["volumes"])


def test_images_are_pinned_and_one_is_ours(compose: dict[str, Any]) -> None:
    images = {name: service["image"] for name, service in compose["services"].items()}

    assert {images[name] for name in (*OURS, "migrate")} == {"voicecall:latest"}
    for name in ("db", "redis", "proxy"):
        assert re.search(r":\d", images[name]), images[name]


def test_it_sets_only_settings_that_exist(compose: dict[str, Any]) -> None:
    for name in (*OURS, "migrate"):
        assert set(compose["services"][name]["environment"]) <= set(read_by_settings())


def test_what_it_asks_of_the_env_file_stands_in_the_example() -> None:
    asked = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))
    example = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))

    assert asked
    assert asked <= example


def test_the_proxy_gives_streams_to_media_and_everything_else_to_web(caddyfile: str) -> None:
    from calls.signing import MAX_BODY_BYTES, STREAM_PATH

    stream = re.search(rf"handle {re.escape(STREAM_PATH)} {{\s*reverse_proxy (\S+)", caddyfile)

    assert stream
    assert stream.group(1) == "media:8000"
    assert "handle /api/twilio/* {" in caddyfile
    assert f"max_size {MAX_BODY_BYTES // 1024}KB" in caddyfile
    assert caddyfile.count("{") == caddyfile.count("}")


def test_the_image_holds_the_product_and_none_of_the_sandbox() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    sent = (ROOT / ".dockerignore").read_text().splitlines()
    copied = re.findall(r"^COPY (?!--)(.*) \S+$", dockerfile, re.MULTILINE)
    sources = {source.rstrip("/") for line in copied for source in line.split()}

    assert {"voicecall", "calls", "realtime", "recordings", "templates"} <= sources
    assert "sandbox" not in sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in sent, source
    assert "\nUSER voicecall\n" in dockerfile

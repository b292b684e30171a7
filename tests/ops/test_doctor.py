"""`manage.py doctor`, health and readiness, asked of the product while it runs."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import pytest
import requests
from django.apps import apps
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from calls.doctor.findings import Finding, Probe, Trouble, examine
from calls.doctor.inside import configuration, judge_clock
from calls.models import Heartbeat
from tests.programs import run_to_end
from tests.servers import ROOT, free_port, wait_until
from tests.worlds import BACKENDS, World

on_sqlite = pytest.mark.parametrize("world", BACKENDS[:1], indirect=True)


def doctor(world: World, **changed: str) -> tuple[int, dict[str, str]]:
    """Run it with some settings changed: its exit code, and each line by its name."""
    done = run_to_end(
        [sys.executable, "manage.py", "doctor", "--no-color"],
        cwd=ROOT,
        env={**world.env, **changed},
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(("ok ", "FAIL"))]
    return done.returncode, {line[6:].partition(":")[0]: line for line in lines}


def failed(lines: dict[str, str]) -> set[str]:
    return {name for name, line in lines.items() if line.startswith("FAIL")}


def row_counts() -> dict[str, int]:
    return {
        model.__name__: model._base_manager.count()
        for label in ("calls", "recordings", "auth", "sessions")
        for model in apps.get_app_config(label).get_models()
    }


def is_ready(world: World) -> bool:
    return requests.get(f"{world.base_url}/readyz", timeout=10).status_code == 200


def test_all_is_well_and_nothing_was_changed_by_asking(world: World) -> None:
    wait_until(lambda: is_ready(world), what="a first tick of beat's")
    before = row_counts()
    files = sorted(world.var_dir.glob("recordings/**/*"))

    code, lines = doctor(world)

    assert failed(lines) == set(), "\n".join(lines.values())
    assert code == 0
    assert len(lines) == 16
    assert row_counts() == before
    assert sorted(world.var_dir.glob("recordings/**/*")) == files


@on_sqlite
def test_wrong_credentials_are_found_out_each_with_its_fix(world: World) -> None:
    wait_until(lambda: is_ready(world), what="a first tick of beat's")

    code, lines = doctor(
        world,
        TWILIO_AUTH_TOKEN="0" * 32,
        OPENAI_API_KEY="sk-revoked",
    )

    assert code == 1
    assert failed(lines) == {
        "signed webhook",
        "media stream",
        "Twilio account",
        "Twilio number",
        "Twilio clock",
        "OpenAI key",
        "OpenAI session",
    }
    assert "Fix: spell PUBLIC_BASE_URL as Twilio uses it" in lines["media stream"]
    assert "start web and media with this very" in lines["media stream"]
    assert "Fix: copy TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN" in lines["Twilio account"]
    assert "Fix: set OPENAI_API_KEY" in lines["OpenAI key"]
    assert "Fix: set OPENAI_API_KEY" in lines["OpenAI session"]
    assert "sk-revoked" not in "".join(lines.values())


@on_sqlite
def test_a_number_and_a_model_that_are_not_ours_are_found_out(world: World) -> None:
    wait_until(lambda: is_ready(world), what="a first tick of beat's")

    code, lines = doctor(
        world, TWILIO_PHONE_NUMBER="+14155559999", OPENAI_REALTIME_MODEL="gpt-realtime-none"
    )

    assert code == 1
    assert failed(lines) == {"Twilio number", "OpenAI key", "OpenAI session"}
    assert "Fix: set TWILIO_PHONE_NUMBER" in lines["Twilio number"]
    assert "Fix: set OPENAI_REALTIME_MODEL" in lines["OpenAI session"]


@on_sqlite
def test_what_does_not_run_is_found_out(world: World, tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"

    code, lines = doctor(
        world,
        VAR_DIR=str(tmp_path),
        DATABASE_URL=f"sqlite:///{tmp_path}/empty.sqlite3",
        PUBLIC_BASE_URL=nobody,
        TWILIO_BASE_URL=nobody,
        OPENAI_REALTIME_URL=nobody.replace("http", "ws"),
        OPENAI_BASE_URL=nobody,
        REDIS_URL=nobody.replace("http", "redis"),
    )

    assert code == 1
    well = {"configuration", "database clock", "storage"}
    assert failed(lines) == set(lines) - well, "\n".join(lines.values())
    assert "migrations have not been run. Fix: run: manage.py migrate" in lines["database"]
    assert "Fix: start Redis, or correct REDIS_URL" in lines["broker"]
    assert "Fix: set PUBLIC_BASE_URL" in lines["public address"]


@on_sqlite
def test_a_database_and_a_folder_that_cannot_be_used_are_found_out(
    world: World, tmp_path: Path
) -> None:
    """The folder's place is taken by a file, which stops even root."""
    (tmp_path / "recordings").write_text("")
    nobody = f"postgres://somebody@127.0.0.1:{free_port()}/name"

    code, lines = doctor(world, DATABASE_URL=nobody, VAR_DIR=str(tmp_path))

    assert code == 1
    assert failed(lines) == {"database", "database clock", "worker", "beat", "storage"}
    assert "Connection refused" in lines["database"]
    assert "Fix: start it, or correct DATABASE_URL" in lines["database"]
    for name in ("database clock", "beat"):
        assert lines[name].endswith("Fix: mend the database first")
    assert "set VAR_DIR" in lines["storage"]


def test_settings_that_do_not_fit_together_are_all_named(settings: Settings) -> None:
    settings.TWILIO_BASE_URL = "https://api.twilio.com"
    settings.PUBLIC_BASE_URL = "http://127.0.0.1"

    with pytest.raises(Trouble) as caught:
        configuration()

    ids = ("voicecall.E001", "voicecall.E002", "voicecall.E003")
    assert all(found in caught.value.fix for found in ids)


def test_a_finding_is_one_line_whatever_it_quotes() -> None:
    finding = Finding("database", "no answer:\n\tis it running?", "start it")

    assert str(finding) == "FAIL  database: no answer: is it running?. Fix: start it"


def test_a_probe_that_hangs_is_given_up_and_the_next_one_asked() -> None:
    import threading

    forever = threading.Event()

    def hang() -> str:
        forever.wait(30)
        return "too late"

    probes = [Probe("hangs", hang), Probe("answers", lambda: "fine")]
    found = list(examine(probes, deadline_s=0.2))
    forever.set()

    assert [finding.is_well for finding in found] == [False, True]
    assert "no answer within 0.2 s" in str(found[0])


def test_a_probe_that_fails_itself_does_not_hide_the_others() -> None:
    def broken() -> str:
        raise ZeroDivisionError("oh")

    found = list(examine([Probe("broken", broken), Probe("answers", lambda: "fine")]))

    assert "the check itself failed: ZeroDivisionError: oh" in str(found[0])
    assert found[1].is_well


@pytest.mark.parametrize(
    ("ahead_s", "is_well"), [(0, True), (1.9, True), (2.6, False), (-3, False)]
)
def test_clocks_may_differ_by_two_seconds(ahead_s: float, is_well: bool) -> None:
    before = timezone.now()
    after = before + timedelta(milliseconds=100)
    theirs = before + timedelta(seconds=ahead_s)

    def judge() -> str:
        return judge_clock("Twilio", theirs, before, after, tolerance_s=0.0)

    if is_well:
        assert judge() == "within 2 s of Twilio"
        return
    with pytest.raises(Trouble, match="differ by"):
        judge()


# --- Health ---------------------------------------------------------------------------------------
def test_a_process_that_answers_is_alive(client: Client) -> None:
    answer = client.get("/healthz")

    assert (answer.status_code, answer.content) == (200, b"ok\n")
    assert "no-store" in answer.headers["Cache-Control"]


def test_health_needs_no_database_and_no_login(client: Client) -> None:
    """It would fail here if it asked the database, which this test may not use."""
    assert client.get("/healthz").status_code == 200
    assert client.post("/healthz").status_code == 405


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("age_s", "status", "says"),
    [(5, 200, "ok"), (31, 503, "is 31 s old"), (None, 503, "never worked together")],
)
def test_ready_means_that_beat_and_a_worker_have_worked_lately(
    client: Client, age_s: int | None, status: int, says: str
) -> None:
    if age_s is not None:
        Heartbeat.objects.create(name="beat", at=timezone.now() - timedelta(seconds=age_s))

    answer = client.get("/readyz")

    assert answer.status_code == status
    assert answer.json()["ready"] is (status == 200)
    assert says in answer.json()["checks"]["worker and beat"]


@on_sqlite
def test_readiness_names_each_part(world: World) -> None:
    wait_until(lambda: is_ready(world), what="a first tick of beat's")

    checks = requests.get(f"{world.base_url}/readyz", timeout=10).json()["checks"]

    assert checks == {"database": "ok", "broker": "ok", "worker and beat": "ok"}

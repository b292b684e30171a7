"""The product's settings as tests see them: the sandbox's values, private files, no Redis."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from dotenv import dotenv_values

ROOT = Path(__file__).resolve().parent.parent
_worker = os.environ.get("PYTEST_XDIST_WORKER")
if _worker is None:
    os.environ["VOICECALL_TESTS_DIR"] = tempfile.mkdtemp(prefix="voicecall-tests-")

# Before the settings are read below: a developer's exported keys must not win over the sandbox's.
for _name, _value in dotenv_values(ROOT / "sandbox.env").items():
    os.environ[_name] = _value or ""
os.environ["VOICECALL_ENV_FILE"] = str(ROOT / "sandbox.env")
os.environ["VAR_DIR"] = str(Path(os.environ["VOICECALL_TESTS_DIR"], _worker or "main"))
for _name in ("REDIS_URL", "CELERY_BROKER_URL"):
    os.environ.pop(_name, None)

from voicecall.settings import *  # noqa: E402, F403
from voicecall.settings import DATABASES, VAR_DIR  # noqa: E402

VAR_DIR.mkdir(parents=True, exist_ok=True)
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # In a file, as in production: a database in memory knows no WAL and no second process.
    DATABASES["default"]["TEST"] = {"NAME": str(VAR_DIR / "test.sqlite3")}

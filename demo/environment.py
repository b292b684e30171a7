"""The environment of a process that works against the sandbox, whatever the shell has exported."""

from __future__ import annotations

from collections.abc import Mapping

from dotenv import dotenv_values

from demo.processes import ROOT

SANDBOX_FILE = ROOT / "sandbox.env"
# A developer's real keys must neither reach the sandbox nor be used by mistake.
# And each process compiling everything anew would cost seconds.
_OURS = (
    "PYTHONDONTWRITEBYTECODE",
    "TWILIO_",
    "OPENAI_",
    "DJANGO_",
    "RECORDING",
    "PUBLIC_BASE_URL",
    "CALL",
    "RING_",
)


def against_sandbox(
    inherited: Mapping[str, str], *, base_url: str, twilio_url: str, openai_url: str
) -> dict[str, str]:
    """The inherited environment with every setting of the product as `sandbox.env` has it.

    Where things are kept (`VAR_DIR`, `DATABASE_URL`, `REDIS_URL`) stays as inherited.
    """
    kept = {name: value for name, value in inherited.items() if not name.startswith(_OURS)}
    given = {name: value or "" for name, value in dotenv_values(SANDBOX_FILE).items()}
    return {
        **kept,
        **given,
        "DJANGO_SETTINGS_MODULE": "voicecall.settings",
        "VOICECALL_ENV_FILE": str(SANDBOX_FILE),
        "PUBLIC_BASE_URL": base_url,
        "TWILIO_BASE_URL": twilio_url,
        "OPENAI_BASE_URL": f"{openai_url}/v1",
        "OPENAI_REALTIME_URL": f"{openai_url}/v1/realtime".replace("http", "ws", 1),
    }

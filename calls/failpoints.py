"""Named places at which a test can stop, break or kill the process; elsewhere they do nothing."""

from __future__ import annotations

import os
import signal
import time

VARIABLE = "VOICECALL_FAILPOINTS"


class FailpointError(RuntimeError):
    """Raised at a failpoint that a test told to raise."""


def failpoint(name: str) -> None:
    """Do what the environment asks for at this place: nothing, unless it names it.

    `VOICECALL_FAILPOINTS` holds pairs such as `dial.after_post=kill,dial.after_claim=sleep:2`:
    `kill` ends the process as a power cut would, `raise` raises, `sleep:S` waits S seconds, and
    `once:FILE:…` does the rest only as long as FILE does not exist, which it then creates.
    """
    asked = os.environ.get(VARIABLE)
    if not asked:
        return
    actions = dict(pair.split("=", 1) for pair in asked.split(",") if "=" in pair)
    action = actions.get(name, "")
    if action.startswith("once:"):
        _, path, action = action.split(":", 2)
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
    _do(action, name)


def _do(action: str, name: str) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "raise":
        raise FailpointError(name)
    elif action.startswith("sleep:"):
        time.sleep(float(action.removeprefix("sleep:")))

"""A wish to end is not lost, whatever the demonstration was doing when it came."""

from __future__ import annotations

import pytest

from demo.__main__ import Asked, Stopped


class Finalised:
    """Is asked to end in the middle of its being finalised, where exceptions go nowhere."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    def __del__(self) -> None:
        self._asked.note(2, None)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_wish_that_came_while_an_object_went_is_heard_afterwards() -> None:
    asked = Asked()
    asked.check()

    finalised = Finalised(asked)
    del finalised

    with pytest.raises(Stopped):
        asked.check()

"""`make run`: the whole product against the sandbox, with one demonstration call."""

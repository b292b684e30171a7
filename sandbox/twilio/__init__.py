"""The telephone half of the sandbox."""

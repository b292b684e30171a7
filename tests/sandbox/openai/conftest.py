"""A model for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.sandbox.openai.talk import Model, model_server


@pytest_asyncio.fixture
async def model() -> AsyncIterator[Model]:
    """A model at the usual pace."""
    async with model_server() as running:
        yield running


@pytest_asyncio.fixture
async def fast_model() -> AsyncIterator[Model]:
    """A model whose time runs forty times as fast: for its long waits."""
    async with model_server(speed=40.0) as running:
        yield running

"""Coroutines that are run in an unusual way."""

import asyncio

import pytest

from realtime.tasks import call_before_waiting


async def test_function_is_called_before_each_wait_and_error():
    """A coroutine runs as without it: it returns, raises and is cancelled."""
    called, waits = [], asyncio.Event()

    async def work(result):
        await asyncio.sleep(0)
        called.append("turn")
        if result is None:
            await waits.wait()
        return 1 / result

    def run(result):
        return call_before_waiting(lambda: called.append("call"), work(result))

    assert await run(1) == 1
    assert called == ["call", "turn"]
    with pytest.raises(ZeroDivisionError):
        await run(0)
    task = asyncio.create_task(asyncio.wait_for(run(None), 0.01))
    with pytest.raises(TimeoutError):
        await task
    assert called == ["call", "turn", "call", "turn", "call", "call", "turn", "call", "call"]

"""The gate of servers at which coroutines wait."""

import asyncio

from realtime.servers.gate import Gate


async def test_waiters_pass_once_the_gate_is_open():
    """All pass, also if one of them was cancelled before. Later ones do not wait."""
    gate = Gate()
    await asyncio.wait_for(gate.wait(), 1)
    gate.close()
    gate.close()
    waiters = [asyncio.create_task(gate.wait()) for _ in range(3)]
    await asyncio.sleep(0.01)
    waiters[0].cancel()
    await asyncio.sleep(0.01)
    assert [waiter.done() for waiter in waiters] == [True, False, False]
    gate.open()
    gate.open()
    await asyncio.wait_for(asyncio.gather(*waiters[1:]), 1)
    await asyncio.wait_for(gate.wait(), 1)


async def test_gate_that_closes_again_holds_its_waiters():
    """A waiter passes an open gate only."""
    gate = Gate()
    gate.close()
    waiter = asyncio.create_task(gate.wait())
    await asyncio.sleep(0.01)
    gate.open()
    gate.close()
    await asyncio.sleep(0.01)
    assert not waiter.done()
    gate.open()
    await asyncio.wait_for(waiter, 1)

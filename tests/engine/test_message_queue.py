"""Queue of a server's messages for one application."""

import asyncio

import pytest

from realtime.servers.message_queue import MessageQueue


@pytest.fixture
def queue():
    return MessageQueue()


async def test_messages_arrive_in_order(queue):
    """Messages are returned in the order in which they were put, at once if they are there."""
    for number in range(3):
        queue.put_nowait(number)
    assert (queue.qsize(), queue.empty()) == (3, False)
    assert [await queue.get() for _ in range(3)] == [0, 1, 2]
    assert (queue.qsize(), queue.empty()) == (0, True)


async def test_each_reader_gets_one_message(queue):
    """Several readers may wait. Each message goes to one of them."""
    readers = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    for number in range(2):
        queue.put_nowait(number)
    await asyncio.sleep(0.01)
    assert [reader.done() for reader in readers] == [True, True, False]
    queue.put_nowait(2)
    assert await asyncio.gather(*readers) == [0, 1, 2]


async def test_cancelled_reader_loses_no_message(queue):
    """A message that arrives while its reader is cancelled goes to the next one."""
    reader = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.put_nowait("one")
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert await queue.get() == "one"
    assert queue.readers == []

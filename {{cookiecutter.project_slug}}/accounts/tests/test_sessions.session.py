"""Sessions, and the sockets that end with them."""

from asgiref.sync import sync_to_async

from conftest import Visit
from tests.people import client_of, headers_of

LOBBY = "/ws/lobby/"


async def test_logging_out_closes_the_sockets_of_that_session(visit: Visit) -> None:
    """The session's sockets close with 4403. Those of other sessions and users stay."""
    browser, phone = [await sync_to_async(client_of)("ann") for _ in range(2)]
    tab, app = [await visit(LOBBY, None, headers=headers_of(client)) for client in (browser, phone)]
    bob = await visit(LOBBY, "bob")
    await bob.wait_for_users("ann", "bob")
    await app.receive_until("welcome")
    await sync_to_async(browser.post)("/accounts/logout/")
    assert await tab.close_code() == 4403
    assert await app.receives_nothing()
    assert await bob.receives_nothing()

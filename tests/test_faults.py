"""Servers and Redis are killed while clients come, go, stall and flood: no message is lost, and nothing leaks."""

import asyncio
import contextlib
import itertools
import json
import math
import os
import random
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.client import Person
from support.emitted import bake, environ_for, run
from support.faults import Client, all_connected, check_everything, happen, settle
from support.matrix import CHOICES, PYTHONS, combinations, label, spread
from support.servers import Redis, start_site

SECONDS = int(os.environ.get("FAULT_SECONDS", 30))  # of chat, and as long in churn
KILLS, OUTAGES = math.ceil(SECONDS / 6), math.ceil(SECONDS / 10)
ROOMS = [f"room {number}" for number in range(5)]
PEOPLE, CLIENTS = (
    25,
    50,
)  # a killed process may count its connections for a while, so each person has far fewer than twenty
LEAK = 1024**2  # bytes: some hundred per visitor of a lap

SITES = spread(combinations("server", "channel_layer"), "consumers", "auth", "database", "django_version")


@pytest.fixture
def own_redis(tmp_path):
    """Start a Redis of the test's own, which it may stop."""
    redis = Redis(tmp_path)
    redis.start()
    yield redis
    redis.stop()


def test_no_choice_is_left_out():
    """Each server meets both layers, and every other choice occurs."""
    assert {(site["server"], site["channel_layer"]) for site in SITES} == set(
        itertools.product(CHOICES["server"], CHOICES["channel_layer"])
    )
    for question in SITES[0]:
        assert {site[question] for site in SITES} == set(CHOICES[question])


@pytest.mark.timeout(4 * SECONDS + 180)
@pytest.mark.parametrize("answers", SITES, ids=label)
def test_every_message_once_and_in_order(answers, cookies, environment, services, own_redis):
    """Each message is stored once and all clients end with the same list, whatever is killed and cut meanwhile."""
    project = bake(cookies, **answers)
    variables = {**services(answers), "LOG_LEVEL": "WARNING"}
    if answers["channel_layer"] == "redis":
        variables["REDIS_URL"] = f"{own_redis.url}/0"
    environ = environ_for(environment(PYTHONS[-1], answers["django_version"]), **variables)
    run(["uv", "run", "python", "manage.py", "migrate", "--verbosity", "0"], project, environ)

    with contextlib.ExitStack() as stack:

        def start(port=None):
            command = ["uv", "run", "python", "manage.py", "serve"]
            return stack.enter_context(start_site(command, project, environ, port))

        def restart():
            stack.close()  # kills the process group
            start(site.port)

        def interrupt_redis():
            own_redis.stop()
            time.sleep(2)
            own_redis.start()

        site = start()
        with ThreadPoolExecutor(4) as threads:
            people = list(threads.map(lambda _: Person(site, answers["auth"]), range(PEOPLE)))
        # Two clients per person, in two rooms.
        clients = [Client(people[number % PEOPLE], ROOMS[(number + number // PEOPLE) % 5]) for number in range(CLIENTS)]
        faults = {restart: [(number + 0.25) * SECONDS / KILLS for number in range(KILLS)]}
        if answers["channel_layer"] == "redis":
            # The last one hits while the chat ends, so that the last messages are lost.
            faults[interrupt_redis] = [(number + 1) * SECONDS / OUTAGES - 1 for number in range(OUTAGES)]
        try:
            print(label(answers), *asyncio.run(talk_amid(faults, clients)))
        except BaseException:
            print(site.log.read_text()[-50_000:])
            raise


async def talk_amid(faults, clients):
    """Let all clients chat during the faults, and compare their lists. Return the number of faults."""
    async with asyncio.TaskGroup() as listening:
        tasks = [listening.create_task(client.listen()) for client in clients]
        await all_connected(clients)
        end = time.monotonic() + SECONDS
        async with asyncio.TaskGroup() as talking:
            for client in clients:
                talking.create_task(client.speak(lambda: time.monotonic() < end))
            for fault, moments in faults.items():
                talking.create_task(happen(fault, moments))
            talking.create_task(cut(clients))
        # Newcomers read everything. The oldest messages are not replayed.
        newcomers = [Client(client.person, client.room) for client in clients[: len(ROOMS)]]
        tasks += [listening.create_task(client.listen()) for client in newcomers]
        stored = await settle(clients, newcomers)
        for task in tasks:
            task.cancel()

    references = check_everything(clients, stored)
    resent = sum(client.sent.total() for client in clients) - references.total()
    reconnections = sum(client.connections - 1 for client in clients)
    happened = [f"{len(moments)} times {fault.__name__}" for fault, moments in faults.items()]
    return references.total(), "messages,", resent, "resent,", reconnections, "reconnections,", *happened


async def cut(clients):
    """Abort one connection after the other, without a close frame."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if connected := [client.socket for client in clients if client.socket]:
            random.choice(connected).transport.abort()
        await asyncio.sleep(random.uniform(0, 1))


@pytest.mark.parametrize("consumers", CHOICES["consumers"])
@pytest.mark.parametrize("layer", CHOICES["channel_layer"])
def test_joins_and_leaves_leak_nothing(layer, consumers, cookies, environment, own_redis):
    """A thousand visits per second to a room leave no task, thread, group, subscription or memory."""
    answers = {"channel_layer": layer, "consumers": consumers, "auth": "none"}
    project = bake(cookies, **answers)
    shutil.copy(Path(__file__).parent / "support" / "churn.py", project)
    variables = {"REDIS_URL": f"{own_redis.url}/0"} if layer == "redis" else {}
    environ = environ_for(environment(PYTHONS[-1], CHOICES["django_version"][0]), **variables)
    output = run(["uv", "run", "python", "churn.py", str(SECONDS)], project, environ)
    print(label(answers), output)
    report = json.loads(output)
    assert report["after"] == report["before"]
    assert report["heard"] == [1] * len(report["heard"])
    # A leak grows in each lap. Memory that the allocator keeps for the busiest moment grows once.
    assert min(later - earlier for earlier, later in itertools.pairwise(report["memory"])) < LEAK
    assert min(later - earlier for earlier, later in itertools.pairwise(report["objects"])) < 1000

"""What a client was told to be kept is kept: the server is killed while devices are registered.

Each device says a higher version each time; after each death the one that is listed must not be lower than the last
that was acknowledged to it. SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import contextlib
import os
import random
import shutil
import tempfile

import pytest

from faultworld import CONFIG, LONG, SEED, crash, elsewhere, figure, say, sized
from soriserver import Server
from truth import Crowd, Lost, Refused

ROUNDS = sized(3, 60)
PEOPLE = sized(6, 20)
LEDGER = "records_per_min = 0\n[ledger]\ntoken_key_file = @FOLDER@/secret\n{where}\n"


@pytest.fixture
def place():
    path = tempfile.mkdtemp(prefix="sori-durable-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    yield path
    shutil.rmtree(path)


async def register(person, acked):
    """Again and again, as fast as answers come."""
    n = 0
    while True:
        n += 1
        try:
            await person.ask("device.register", data={"platform": "web", "app": "org.example", "version": f"v{n}"})
            acked[person.name] = n
        except Refused:
            await asyncio.sleep(0.02)
        except Lost:
            pass


async def listed(person):
    """The version of its device that the server has."""
    while True:
        try:
            got = await person.ask("device.list")
            return max((int(d["version"][1:]) for d in got["devices"] if d["self"]), default=0)
        except (Refused, Lost):
            await asyncio.sleep(0.05)


async def rounds(server, die):
    """Kills by die(draw), and counts acknowledged records that are lost; (lost, acknowledged)."""
    draw, lost, total = random.Random(SEED), 0, 0
    async with Crowd([server.wss], people=PEOPLE, calls=0, seed=SEED) as crowd:
        acked = {}
        for i in range(ROUNDS):
            tasks = [asyncio.ensure_future(register(p, acked)) for p in crowd.people]
            await asyncio.sleep(draw.uniform(0.1, 0.5))
            await elsewhere(die, draw)
            for t in tasks:
                t.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await crowd.back(30)
            for p in crowd.people:
                now = await asyncio.wait_for(listed(p), 30)
                lost += now < acked.get(p.name, 0)
                total += acked.get(p.name, 0)
                acked[p.name] = 0
            if LONG and i % 10 == 9:
                say(f"{i + 1} of {ROUNDS} deaths, {total} acknowledged, {lost} lost")
    say(f"{ROUNDS} deaths, {total} acknowledged, {lost} lost")
    assert total > ROUNDS
    return lost


@contextlib.contextmanager
def serving(where):
    with Server(CONFIG, extra=LEDGER.format(where=where)) as s:
        yield s


def test_the_server_dies_and_nothing_acknowledged_is_lost(place):
    with serving(f"file = {place}/ledger.db") as s:
        def die(_):
            crash(s.d)
            s.d.start()
        lost = asyncio.run(rounds(s, die))
    figure("durable_lost", lost if LONG else None)
    assert lost == 0

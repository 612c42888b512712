"""Two servers, one PostgreSQL ledger, one Apple: what is registered, moved or taken away at one server is true at the
other, also after it has missed the news. SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import shutil
import tempfile
import time
import uuid

import pytest

from apnsworld import StandIn
from push_ring_test import CONFIG, OFFER, Client, World, caller, names, play_out, register, token_of
from soripostgres import Postgres


def world_of(apple, node, where, place, more=""):
    shared = (f"postgres = {where}\nerased_file = {place}/{node}.erased\n{more}",
              f"[privacy]\nexport_dir = {place}\n[apns]")
    return World(apple, CONFIG.replace("file = @FOLDER@/ledger.db", shared[0]).replace("[apns]", shared[1])
                 .replace("[server]\n", f"[server]\nnode_id = {node}\n"))


@pytest.fixture(scope="module")
def servers():
    place = tempfile.mkdtemp(prefix="sori-ledger-")
    with Postgres() as pg, StandIn(unknown="active", jwt_gap_s=0, streams_first=100) as apple:
        db = pg.database()
        one, two = (world_of(apple, n, db.where, place) for n in ("node-1", "node-2"))
        with one.d, two.d:
            one.wait_ready()
            two.wait_ready()
            yield one, two, db
    shutil.rmtree(place)


async def devices_at(world, user, wanted, limit_s=8):
    """Waits until the server knows these devices of the user, and no others."""
    c = Client(world.url, user, "pad")
    await c.connect()
    end = time.monotonic() + limit_s
    while True:
        r = await c.request("device.list")
        if "devices" in r["data"]:  # else it was asked too often
            found = {d["deviceId"]: len(d["tokens"]) for d in r["data"]["devices"]}
            if found == wanted:
                break
        assert time.monotonic() < end, (r, wanted)
        await asyncio.sleep(0.02)
    await c.request("session.close")


async def ring(world, alice, user):
    """Calls somebody who is offline; gives what was pushed, by the server's own count."""
    a = await caller(world, alice)
    call = str(uuid.uuid4())
    r = await a.request("call.invite", call, OFFER, to=user)
    if r["type"] == "error":
        return 0, r["data"]["code"]
    await a.request("call.cancel", call)
    return r["data"]["devices"]["pushed"], call


def test_a_device_that_registered_at_one_server_is_rung_by_the_other(servers):
    one, two, _ = servers
    alice, bob = names()

    async def play():
        await register(one, bob, "phone", {"voip": token_of(bob)})
        await devices_at(two, bob, {"phone": 1})
        pushed, call = await ring(two, alice, bob)
        assert pushed == 1
        push = two.pushes(alice, 1)[0]
        assert push["headers"][":path"] == f"/3/device/{token_of(bob)}" and push["body"]["call_id"] == call
        assert push["body"]["ws"] == two.url

    play_out(play())


def test_a_token_that_moved_at_one_server_is_not_pushed_for_its_old_user_by_the_other(servers):
    one, two, _ = servers
    alice, bob = names()
    carl = bob.replace("bob", "carl")

    async def play():
        await register(one, bob, "phone", {"voip": token_of(bob)})
        await devices_at(two, bob, {"phone": 1})
        await register(one, carl, "phone", {"voip": token_of(bob)})
        await devices_at(two, carl, {"phone": 1})
        await devices_at(two, bob, {"phone": 0})
        assert (await ring(two, alice, bob))[0] == 0
        assert (await ring(two, alice, carl))[0] == 1
        pushes = two.pushes(alice, 1)
        assert [p["headers"][":path"] for p in pushes] == [f"/3/device/{token_of(bob)}"]

    play_out(play())


def test_a_device_that_was_removed_at_one_server_is_gone_at_the_other(servers):
    one, two, _ = servers
    _, bob = names()

    async def play():
        await register(two, bob, "phone", {"voip": token_of(bob)})
        await devices_at(one, bob, {"phone": 1})
        c = Client(one.url, bob, "phone")
        await c.connect()
        await c.request("device.unregister")
        await c.request("session.close")
        await devices_at(one, bob, {})
        await devices_at(two, bob, {})

    play_out(play())


def test_what_was_missed_is_read_after_the_connection_is_back(servers):
    one, two, db = servers
    _, bob = names()
    other = bob.replace("bob", "dora")

    async def play():
        await register(one, bob, "phone", {"voip": token_of(bob)})
        await devices_at(two, bob, {"phone": 1})
        db.postgres.sql(f"ALTER DATABASE {db.name} ALLOW_CONNECTIONS false")
        db.postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name='sori node-2'")
        end = time.monotonic() + 8
        while "degraded" not in two.admin_get("/readyz"):  # it was told by its idle connection
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
        await register(one, other, "phone", {"voip": token_of(other)})
        c = Client(one.url, bob, "phone")
        await c.connect()
        await c.request("device.unregister")
        await c.request("session.close")
        await devices_at(two, bob, {"phone": 1})  # as it was: pushes go on
        db.postgres.sql(f"ALTER DATABASE {db.name} ALLOW_CONNECTIONS true")
        await devices_at(two, bob, {})
        await devices_at(two, other, {"phone": 1})

    play_out(play())

"""Two servers on one PostgreSQL get another key for push tokens, one restarted after the other, as docs/OPERATIONS.md
("The secret") says: at each moment each can push to what the other has sealed, and at the end nobody needs the old key.

What is in the database is opened here by the keys themselves, not by what a row says of itself.
SPDX-License-Identifier: BSD-3-Clause
"""
import contextlib
import hashlib
import hmac
import os
import re
import shutil
import signal
import tempfile

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from apnsworld import StandIn
from ledger_pg_push_test import devices_at, ring, world_of
from push_ring_test import Client, exported, names, play_out, register, token_of
from soriclient import SECRET
from soridaemon import metric
from soripostgres import Postgres

KEYS = {"the secret": SECRET, "old": "o" * 64, "new": "n" * 64}
OVER = r"(\d+) push tokens were sealed with the present key; (\d+) have another one"
NONCE = 12
NODES = ("node-1", "node-2")


def opens(key, user, device, sealed):
    """The token that this key has sealed (server/privacy.h), or None."""
    derived = hmac.new(KEYS[key].encode(), b"sori ledger token 1", hashlib.sha256).digest()
    try:
        return AESGCM(derived).decrypt(sealed[:NONCE], sealed[NONCE:], f"{user}\0{device}".encode()).decode()
    except InvalidTag:
        return None


class Scene:
    """Two servers, the database between them, and users with a device each that sleeps."""

    def __init__(self, apple, db, place, stack):
        self.apple, self.db, self.place, self.stack = apple, db, place, stack
        self.at, self.users = {}, []

    def restart(self, name, present, other=None):
        """A server with these keys, in the place of the one that had its name."""
        if name in self.at:
            self.at[name].d.stop()
        keys = "".join(f"{option} = {self.place}/{key}\n"
                       for option, key in (("seal_key_file", present), ("other_seal_key_file", other))
                       if key in ("old", "new"))  # the secret's own needs no word
        world = self.at[name] = world_of(self.apple, name, self.db.where, self.place, keys)
        self.stack.callback(world.d.kill)
        world.d.start()
        world.wait_ready()

    def register(self, name):
        _, user = names()
        play_out(register(self.at[name], user, "phone", {"voip": token_of(user)}))
        self.users.append(user)

    def all_are_rung_by_both(self):
        async def play(world):
            for user in self.users:
                await devices_at(world, user, {"phone": 1})
                alice, _ = names()
                assert (await ring(world, alice, user))[0] == 1
                assert [p["headers"][":path"] for p in world.pushes(alice, 1)] == [f"/3/device/{token_of(user)}"]

        for world in self.at.values():
            play_out(play(world))

    def sweep(self, name):
        """The server's first pass over the tokens, ten seconds after its start: an export does not wait for it. Gives
        what the log says, how many it has sealed and how many it can't open."""
        async def play(world):
            c = Client(world.url, names()[0])
            await c.connect()
            await exported(c)

        play_out(play(self.at[name]))
        told = re.search(OVER, self.at[name].d.wait_log(OVER))
        assert metric(self.at[name].admin, "sori_ledger_tokens_unopened") == int(told[2])
        return int(told[1]), int(told[2])

    def sealed_with(self):
        """How many tokens each key has sealed. They are what the users have registered."""
        n = dict.fromkeys(KEYS, 0)
        for row in self.db.sql("SELECT user_id, device_id, encode(token, 'hex') FROM push_token").split("\n"):
            user, device, sealed = row.split("|")
            found = {key: opens(key, user, device, bytes.fromhex(sealed)) for key in KEYS}
            for key, token in found.items():
                n[key] += token == token_of(user)
        assert sum(n.values()) == len(self.users)
        return {key: count for key, count in n.items() if count}


@pytest.fixture
def scene():
    place = tempfile.mkdtemp(prefix="sori-ledger-")
    for key in ("old", "new"):
        with open(f"{place}/{key}", "w", encoding="ascii", opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write(KEYS[key])
    with Postgres() as pg, StandIn(unknown="active", jwt_gap_s=0, streams_first=100) as apple, \
            contextlib.ExitStack() as stack:
        s = Scene(apple, pg.database(), place, stack)
        yield s
        for world in s.at.values():
            world.d.signal(signal.SIGINT)  # both at once
        for world in s.at.values():
            world.d.stop()
    shutil.rmtree(place)


def rotate(s, was, new):
    """Steps 1 to 3."""
    n = len(s.users)
    assert s.sealed_with() == {was: n}
    for name in NODES:  # 1. both can open what the new key will seal
        s.restart(name, was, new)
        s.all_are_rung_by_both()

    s.restart("node-1", new, was)  # 2. one seals with it, the other with the former one
    s.register("node-1")
    s.register("node-2")
    assert s.sealed_with() == {was: n + 1, new: 1}
    s.all_are_rung_by_both()
    assert s.sweep("node-1") == (n + 1, 0)
    assert s.sealed_with() == {new: n + 2}
    assert s.sweep("node-2") == (n + 2, 0)  # and back: node-1's word was not the last
    assert s.sealed_with() == {was: n + 2}
    s.all_are_rung_by_both()
    s.restart("node-2", new, was)
    s.register("node-2")
    assert s.sealed_with() == {was: n + 2, new: 1}
    s.all_are_rung_by_both()

    assert s.sweep("node-2") == (n + 2, 0)  # 3. the last one's is
    assert s.sealed_with() == {new: n + 3}


def test_two_servers_get_another_key_one_after_the_other(scene):
    s = scene
    for name in NODES:
        s.restart(name, "the secret")
        s.register(name)
    rotate(s, "the secret", "old")
    rotate(s, "old", "new")
    for name in NODES:  # 4. without the former one
        s.restart(name, "new")
        s.all_are_rung_by_both()
        assert s.sweep(name) == (0, 0)
    assert s.sealed_with() == {"new": len(s.users)}

"""The PostgreSQL ledger with real daemons: two servers on one database, a database that goes and comes back, TLS
and passwords.
SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import os
import shutil
import tempfile
import time
import urllib.request
import uuid

import pytest

from soriclient import Client
from soridaemon import make_cert, metric, run_to_exit
from soripostgres import Postgres
from soriserver import Server

OFFER = {"offer": {"type": "offer", "sdp": "v=0"}, "metadata": {"isVideo": False}}
CONFIG = """
[server]
listen_tls = 127.0.0.1:{tls}
listen_clear = 127.0.0.1:{clear}
node_id = {node}
[tls]
cert_file = @FOLDER@/cert.pem
key_file = @FOLDER@/key.pem
[auth]
hs256_secret_file = @FOLDER@/secret
[admin]
listen = 127.0.0.1:{admin}
[call]
ring_timeout = 5
[ledger]
{ledger}
token_key_file = @FOLDER@/secret
[privacy]
export_dir = {place}
[limits]
handshakes_per_s = 1000
handshakes_burst = 1000
"""


@pytest.fixture
def place():
    path = tempfile.mkdtemp(prefix="sori-ledger-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module", name="tls")
def tls_of_all():
    """A folder with certificate and key of the one PostgreSQL that all tests here share."""
    path = tempfile.mkdtemp(prefix="sori-tls-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    make_cert(path)
    os.chmod(f"{path}/key.pem", 0o600)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def cluster(tls):
    with Postgres("-c", "ssl=on", "-c", "listen_addresses=127.0.0.1", "-c", f"ssl_cert_file={tls}/cert.pem",
                  "-c", f"ssl_key_file={tls}/key.pem") as pg:
        yield pg


@pytest.fixture(name="pg")
def running(cluster):
    if not cluster.process:
        cluster.start()
    return cluster


def server(place, where, node="node-1", more=""):
    return Server(CONFIG, node=node, place=place,
                  ledger=f"postgres = {where}\nerased_file = {place}/{node}.erased\n{more}")


async def call(url, caller, callee, answer=False):
    """A call that is refused; gives its id."""
    a, b = Client(url, caller), Client(url, callee)
    await a.connect()
    await b.connect()
    name = str(uuid.uuid4())
    await a.send("call.invite", call=name, to=callee, data=OFFER)
    await b.until("call.incoming")
    await b.request("call.reject", call=name)
    await a.until("call.ended")
    await a.socket.close()
    await b.socket.close()
    return name


async def history(url, user, wanted, seconds=8):
    """Asks until there are so many calls: the ledger writes when it can."""
    c = Client(url, user)
    await c.connect()
    until = time.monotonic() + seconds
    while True:
        m = await c.request("history.list")
        calls = m["data"].get("calls")
        if calls is not None and len(calls) == wanted:
            await c.socket.close()
            return [x["callId"] for x in calls]
        assert time.monotonic() < until, m
        await asyncio.sleep(0.05)


def ready(s):
    with urllib.request.urlopen(f"http://127.0.0.1:{s.admin}/readyz", timeout=5) as r:
        return r.read().decode()


def test_two_servers_share_one_ledger(place, pg):
    async def scene(one, two):
        first = await call(one.ws, "ann", "bob")
        second = await call(two.ws, "ann", "carl")
        assert set(await history(one.ws, "ann", 2)) == {first, second}
        assert await history(two.ws, "bob", 1) == [first]

    db = pg.database()
    with server(place, db.where) as one, server(place, db.where, "node-2") as two:
        asyncio.run(scene(one, two))
        assert db.sql("SELECT count(*) FROM usage_day") == "2"  # of each node its own sums


def test_a_database_that_goes_away_holds_no_call_up(place, pg):
    async def scene(s):
        calls = {await call(s.ws, "ann", "bob")}
        await history(s.ws, "ann", 1)
        pg.stop()
        began = time.monotonic()
        calls.add(await call(s.ws, "ann", "bob"))
        assert time.monotonic() - began < 2
        c = Client(s.ws, "ann")
        await c.connect()
        assert (await c.request("history.list"))["data"]["code"] == "store.unavailable"
        assert ready(s).startswith("ready, degraded: the database of [ledger] postgres")
        assert metric(s.admin, 'sori_ledger_state{state="away"}') == 1
        calls.add(await call(s.ws, "bob", "ann"))
        pg.start()
        assert set(await history(s.ws, "ann", 3)) == calls
        assert metric(s.admin, 'sori_ledger_state{state="ok"}') == 1
        assert metric(s.admin, "sori_ledger_refused_total") == 0

    with server(place, pg.database().where) as s:
        asyncio.run(scene(s))


def test_a_server_starts_without_its_database(place, pg):
    async def scene(s):
        name = await call(s.ws, "ann", "bob")
        pg.start()
        db.make()
        assert await history(s.ws, "ann", 1) == [name]

    db = pg.database(make=False)
    pg.stop()
    with server(place, db.where) as s:
        asyncio.run(scene(s))


def test_a_server_that_has_nothing_to_write_ends_without_its_database_at_once(place, pg):
    db = pg.database(make=False)
    pg.stop()
    with server(place, db.where) as s:
        assert metric(s.admin, 'sori_ledger_state{state="away"}') == 1
        began = time.monotonic()
        s.d.stop()
        assert time.monotonic() - began < 3
        assert "are lost" not in s.d.log()


def test_the_database_is_verified_and_gets_its_password_over_tls_only(place, pg, tls):
    os.mkdir(f"{place}/other")
    make_cert(f"{place}/other")
    password = f"{place}/password"
    with open(password, "w", encoding="ascii", opener=lambda p, f: os.open(p, f, 0o600)) as f:
        f.write("correct horse\n")
    db = pg.database()
    db.sql("ALTER USER sori PASSWORD 'correct horse'")
    with open(f"{pg.folder}/data/pg_hba.conf", "w", encoding="ascii") as f:
        f.write("local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n")
    db.sql("SELECT pg_reload_conf()")
    tcp = f"host=127.0.0.1 user=sori dbname={db.name}"
    good = f"{tcp} sslrootcert={tls}/cert.pem"

    async def scene(s):
        name = await call(s.ws, "ann", "bob")
        assert await history(s.ws, "ann", 1) == [name]

    with server(place, good, more=f"postgres_password_file = {password}") as s:
        asyncio.run(scene(s))
        assert db.sql("SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE"
                      " application_name LIKE 'sori node%'") == "t"
        assert "correct horse" not in s.d.log()
    for where, password_file in ((f"{tcp} sslrootcert={place}/other/cert.pem", password),
                                 (f"{tcp} sslmode=disable", password), (good, None)):
        more = f"postgres_password_file = {password_file}" if password_file else ""
        with server(place, where, more=more) as s:
            assert metric(s.admin, 'sori_ledger_state{state="away"}') == 1
            assert "correct horse" not in s.d.log()


def test_a_wrong_configuration_says_what_to_write(place):
    for ledger, text in (("file = x\npostgres = dbname=sori", "[ledger] file, postgres"),
                         ("postgres = dbname=sori password=hush", "postgres_password_file"),
                         ("postgres = host=db.example dbname=sori", "sslrootcert"),
                         ("postgres = host=db.example dbname=sori sslmode=require", "verify-full")):
        s = Server(CONFIG, node="node-1", place=place, ledger=ledger)
        code, out = run_to_exit("sori-server", ["--config", s.d.config, "--check-config"])
        assert code == 78 and text in out and "hush" not in out, out
        s.d.kill()

"""The PostgreSQL ledger with real daemons: two servers on one database, a database that goes and comes back, TLS
and passwords, a SQLite file that is moved into it, the report from both.
SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
import urllib.request
import uuid

import pytest

from soriclient import Client
from soridaemon import make_cert, metric, run_to_exit
from soripostgres import Postgres
from soriserver import Server

BUILD = os.environ["SORI_BUILD"]
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


def test_two_servers_share_one_ledger(place):
    async def scene(one, two):
        first = await call(one.ws, "ann", "bob")
        second = await call(two.ws, "ann", "carl")
        assert set(await history(one.ws, "ann", 2)) == {first, second}
        assert await history(two.ws, "bob", 1) == [first]

    with Postgres() as pg, server(place, pg.where) as one, server(place, pg.where, "node-2") as two:
        asyncio.run(scene(one, two))
        assert pg.sql("SELECT count(*) FROM usage_day") == "2"  # of each node its own sums


def test_a_database_that_goes_away_holds_no_call_up(place):
    async def scene(pg, s):
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

    with Postgres() as pg, server(place, pg.where) as s:
        asyncio.run(scene(pg, s))


def test_a_server_starts_without_its_database(place):
    async def scene(pg, s):
        name = await call(s.ws, "ann", "bob")
        pg.start()
        pg.sql("CREATE DATABASE sori", "postgres")
        assert await history(s.ws, "ann", 1) == [name]

    pg = Postgres()
    try:
        with server(place, pg.where) as s:
            asyncio.run(scene(pg, s))
    finally:
        pg.__exit__()


def test_the_database_is_verified_and_gets_its_password_over_tls_only(place):
    make_cert(place)
    os.mkdir(f"{place}/other")
    make_cert(f"{place}/other")
    password = f"{place}/password"
    with open(password, "w", encoding="ascii", opener=lambda p, f: os.open(p, f, 0o600)) as f:
        f.write("correct horse\n")
    tls = ["-c", "ssl=on", "-c", "listen_addresses=127.0.0.1", "-c", f"ssl_cert_file={place}/cert.pem",
           "-c", f"ssl_key_file={place}/key.pem"]
    shutil.copymode(password, f"{place}/key.pem")
    with Postgres(*tls) as pg:
        pg.sql("ALTER USER sori PASSWORD 'correct horse'")
        with open(f"{pg.folder}/data/pg_hba.conf", "w", encoding="ascii") as f:
            f.write("local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n")
        pg.sql("SELECT pg_reload_conf()")
        tcp = "host=127.0.0.1 user=sori dbname=sori"
        good = f"{tcp} sslrootcert={place}/cert.pem"

        async def scene(s):
            name = await call(s.ws, "ann", "bob")
            assert await history(s.ws, "ann", 1) == [name]

        with server(place, good, more=f"postgres_password_file = {password}") as s:
            asyncio.run(scene(s))
            assert pg.sql("SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE"
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


def test_every_acknowledged_record_survives_kills_of_the_writer():
    with Postgres() as pg:
        acked = {int(n) for n in tool("bench/load/ledger_driver", "crash", pg.where, 100, 20261128).split()}
        there = {int(n) for n in pg.sql("SELECT ('x' || encode(substr(call_id, 9), 'hex'))::bit(64)::bigint"
                                        " FROM cdr").split()}
        assert len(acked) > 100
        assert not acked - there
        assert pg.sql("SELECT count(*) FROM cdr_party") == str(2 * len(there))  # none is half there
        assert pg.sql("SELECT sum(calls) FROM usage_day") == str(len(there))  # nor counted twice


def test_no_acknowledged_record_is_lost_or_doubled_when_the_database_crashes():
    with Postgres() as pg:
        run = subprocess.Popen([f"{BUILD}/bench/load/ledger_driver", "rate", pg.where, "4", "200"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3):
            rows = int(pg.sql("SELECT count(*) FROM pg_class WHERE relname='cdr'")) and \
                int(pg.sql("SELECT count(*) FROM cdr"))
            until = time.monotonic() + 10
            while int(pg.sql("SELECT count(*) FROM pg_class WHERE relname='cdr'")) == 0 or \
                    int(pg.sql("SELECT count(*) FROM cdr")) <= rows:
                assert time.monotonic() < until
            pg.stop(signal.SIGQUIT)  # no shutdown: connections are cut, recovery at the next start
            pg.start()
        out, err = run.communicate(timeout=30)
        assert run.returncode == 0, err
        acked = json.loads(out)["records"]
        there = int(pg.sql("SELECT count(*) FROM cdr"))
        assert acked > 0 and there >= acked, (acked, there)
        assert pg.sql("SELECT count(*) FROM cdr_party") == str(2 * there)
        assert pg.sql("SELECT sum(calls) FROM usage_day") == str(there)


def tool(name, *args, code=0):
    run = subprocess.run([f"{BUILD}/{name}", *map(str, args)], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == code, run.stdout + run.stderr
    return run.stdout + run.stderr


def test_a_file_moves_into_the_database_and_reports_alike(place):
    file = f"{place}/ledger.db"
    tool("bench/load/ledger_driver", "purge", file, 3, 1)
    with Postgres() as pg:
        db = sqlite3.connect(file)
        db.execute("INSERT INTO device VALUES('ann','phone','ios','a','1','en','sandbox','lck',1)")
        db.execute("INSERT INTO device VALUES(CAST(x'ff00' AS TEXT),'phone','ios','a','1','en','sandbox','lck',1)")
        db.commit()
        counts = {t: db.execute(f"SELECT COUNT(*) FROM {t}").fetchone()[0]
                  for t in ("cdr", "cdr_party", "push_log", "device", "privacy_request", "audit", "erased", "usage_day")}
        assert counts["cdr"] > 1000 and counts["audit"] > 0
        db.close()
        tool("sori-ledger", "--from", file, "--to", "dbname=x password=y", code=64)
        tool("sori-ledger", "--from", f"{place}/none", "--to", pg.where, code=66)
        tool("sori-ledger", "--from", file, "--to", pg.where, "--stop-after", 2, code=75)
        assert 0 < int(pg.sql("SELECT sum(got) FROM sori_move")) < sum(counts.values())
        out = tool("sori-ledger", "--from", file, "--to", pg.where)
        assert "1 left out" in out
        for table, n in counts.items():
            assert pg.sql(f"SELECT count(*) FROM {table}") == str(n - (table == "device")), table
        assert "already" in tool("sori-ledger", "--from", file, "--to", pg.where, code=73)
        days = ["--now", int(time.time()), "-d", 40, "--to", time.strftime("%Y-%m-%d", time.gmtime())]
        one, two = (json.loads(tool("sori-report", *source, *days))
                    for source in (("--ledger", file), ("--postgres", pg.where)))
        assert one["days"] == two["days"] and one["days"]

"""The PostgreSQL ledger when writers and databases crash, and a SQLite file that is moved into one: verdicts by what
was acknowledged and what is there. SPDX-License-Identifier: BSD-3-Clause
"""
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time

import pytest

from soripostgres import Database, Postgres

BUILD = os.environ["SORI_BUILD"]


@pytest.fixture
def place():
    path = tempfile.mkdtemp(prefix="sori-ledger-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module", name="pg")
def postgres_of_all():
    with Postgres() as pg:
        yield pg


@pytest.fixture(name="db")
def a_database(pg):
    return pg.database()


def test_every_acknowledged_record_survives_kills_of_the_writer(db):
    acked = {int(n) for n in tool("bench/load/ledger_driver", "crash", db.where, 100, 20261128).split()}
    there = {int(n) for n in db.sql("SELECT ('x' || encode(substr(call_id, 9), 'hex'))::bit(64)::bigint"
                                    " FROM cdr").split()}
    assert len(acked) > 100
    assert not acked - there
    assert db.sql("SELECT count(*) FROM cdr_party") == str(2 * len(there))  # none is half there
    assert db.sql("SELECT sum(calls) FROM usage_day") == str(len(there))  # nor counted twice


def grows(db, run):
    """Waits until there are more calls; no: the writer has ended."""
    made = "SELECT count(*) FROM pg_class WHERE relname='cdr'"
    before = int(db.sql("SELECT count(*) FROM cdr")) if db.sql(made) != "0" else 0
    while run.poll() is None:
        if db.sql(made) != "0" and int(db.sql("SELECT count(*) FROM cdr")) > before:
            return True
    return False


def test_no_acknowledged_record_is_lost_or_doubled_when_the_database_crashes(pg, db):
    run = subprocess.Popen([f"{BUILD}/bench/load/ledger_driver", "rate", db.where, "4", "200"],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    crashes = 0
    while crashes < 3 and grows(db, run):
        pg.stop(signal.SIGQUIT)  # no shutdown: connections are cut, recovery at the next start
        pg.start()
        crashes += 1
    out, err = run.communicate(timeout=30)
    assert run.returncode == 0, err
    assert crashes > 0
    acked = json.loads(out)["records"]
    there = int(db.sql("SELECT count(*) FROM cdr"))
    assert acked > 0 and there >= acked, (acked, there)
    assert db.sql("SELECT count(*) FROM cdr_party") == str(2 * there)
    assert db.sql("SELECT sum(calls) FROM usage_day") == str(there)


def test_a_failover_to_a_synchronous_standby_loses_nothing_that_was_acknowledged():
    with Postgres() as first:
        db = first.database()
        with first.copy() as second:
            first.sql("ALTER SYSTEM SET synchronous_standby_names='*'")
            first.sql("SELECT pg_reload_conf()")
            other = Database(second, db.name, make=False)
            where = f"host={second.folder},{first.folder} user=sori dbname={db.name}"  # the standby is named first
            run = subprocess.Popen([f"{BUILD}/bench/load/ledger_driver", "rate", where, "4", "200"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            assert grows(db, run)
            first.stop(signal.SIGQUIT)
            other.sql("SELECT pg_promote()")
            out, err = run.communicate(timeout=60)
            assert run.returncode == 0, err
            figures = json.loads(out)
            there = int(other.sql("SELECT count(*) FROM cdr"))
            assert figures["records"] > 0 and there >= figures["records"], (figures, there)
            assert other.sql("SELECT sum(calls) FROM usage_day") == str(there)
            other.hang_up()


def tool(name, *args, code=0):
    run = subprocess.run([f"{BUILD}/{name}", *map(str, args)], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == code, run.stdout + run.stderr
    return run.stdout + run.stderr


def test_a_file_moves_into_the_database_and_reports_alike(db, place):
    file = f"{place}/ledger.db"
    tool("bench/load/ledger_driver", "purge", file, 3, 1)
    file_db = sqlite3.connect(file)
    file_db.execute("INSERT INTO device VALUES('ann','phone','ios','a','1','en','sandbox','lck',1)")
    file_db.execute("INSERT INTO device VALUES(CAST(x'ff00' AS TEXT),'phone','ios','a','1','en','sandbox','lck',1)")
    file_db.commit()
    counts = {t: file_db.execute(f"SELECT COUNT(*) FROM {t}").fetchone()[0]
              for t in ("cdr", "cdr_party", "push_log", "device", "privacy_request", "audit", "erased", "usage_day")}
    assert counts["cdr"] > 1000 and counts["audit"] > 0
    file_db.close()
    tool("sori-ledger", "--from", file, "--to", "dbname=x password=y", code=64)
    tool("sori-ledger", "--from", f"{place}/none", "--to", db.where, code=66)
    tool("sori-ledger", "--from", file, "--to", db.where, "--stop-after", 2, code=75)
    assert 0 < int(db.sql("SELECT sum(got) FROM sori_move")) < sum(counts.values())
    out = tool("sori-ledger", "--from", file, "--to", db.where)
    assert "1 left out" in out
    for table, n in counts.items():
        assert db.sql(f"SELECT count(*) FROM {table}") == str(n - (table == "device")), table
    assert "already" in tool("sori-ledger", "--from", file, "--to", db.where, code=73)
    days = ["--now", int(time.time()), "-d", 40, "--to", time.strftime("%Y-%m-%d", time.gmtime())]
    one, two = (json.loads(tool("sori-report", *source, *days))
                for source in (("--ledger", file), ("--postgres", db.where)))
    assert one["days"] == two["days"] and one["days"]

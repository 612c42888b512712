"""The ledger against kill -9, a full disk, a read-only one, other people's validators.
SPDX-License-Identifier: BSD-3-Clause
"""
import glob
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile

import jsonschema
import pytest

BUILD, ROOT = os.environ["SORI_BUILD"], os.environ["SORI_ROOT"]
DRIVER = os.path.join(BUILD, "bench/load/ledger_driver")
KILLS = 1000
PURGE_KILLS = 30
CALLS = 100_000


@pytest.fixture
def place():
    """A directory in memory: what a process loses does not depend on the disk."""
    path = tempfile.mkdtemp(prefix="sori-ledger-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    yield path
    shutil.rmtree(path)


def drive(*args, timeout=200):
    run = subprocess.run([DRIVER, *map(str, args)], capture_output=True, text=True, timeout=timeout, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def bytes_hold(place, text):
    return any(text.encode() in open(f, "rb").read() for f in glob.glob(f"{place}/*") if os.path.isfile(f))


def test_every_acknowledged_record_survives_a_thousand_kills(place):
    file = f"{place}/ledger.db"
    acked = {int(line) for line in drive("crash", file, KILLS, 20261127).split()}
    db = sqlite3.connect(file)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    parties = dict(db.execute("SELECT call_id, COUNT(*) FROM cdr_party GROUP BY call_id"))
    there = {int.from_bytes(row[0][8:], "big"): parties.get(row[0])
             for row in db.execute("SELECT call_id FROM cdr")}
    assert len(acked) > 10 * KILLS  # the kills hit a writer at work
    assert not acked - there.keys()
    assert set(there.values()) == {2}  # none is half there
    assert len(parties) == len(there)
    assert db.execute("SELECT SUM(calls) FROM usage_day").fetchone()[0] == len(there)  # nor counted twice


def test_a_purge_that_is_killed_anywhere_is_ended_or_has_not_begun(place):
    file = f"{place}/ledger.db"
    drive("purge", file, PURGE_KILLS, 7)
    drive("open", file)
    db = sqlite3.connect(file)
    done = 0
    for i in range(PURGE_KILLS):
        victim = f"victim-{i}-end"
        calls = db.execute("SELECT COUNT(*) FROM cdr_party WHERE user_id=?", (victim,)).fetchone()[0]
        pushes = db.execute("SELECT COUNT(*) FROM push_log WHERE user_id=?", (victim,)).fetchone()[0]
        assert calls == pushes and calls in (0, 2000), victim
        if calls == 0:
            done += 1
            assert not bytes_hold(place, victim), victim
    assert done > PURGE_KILLS / 4
    listed = open(file + ".erased", encoding="ascii").read().splitlines()
    assert len({line.split()[0] for line in listed}) == done
    assert db.execute("SELECT COUNT(*) FROM erased").fetchone()[0] == done
    # Every call of the erased is still its other party's.
    assert db.execute("SELECT COUNT(*) FROM cdr_party WHERE user_id LIKE 'peer-%'").fetchone()[0] == 2000 * PURGE_KILLS


def on_a_disk(scene, place):
    run = subprocess.run(["unshare", "-m", sys.executable, f"{ROOT}/tests/lib/ledger_disk.py", scene, DRIVER, place],
                         capture_output=True, text=True, timeout=100, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return json.loads(run.stdout)


def test_a_full_disk_loses_nothing_and_holds_nobody_up(place):
    r = on_a_disk("full", place)
    assert r["code"] == 0
    assert r["lost"] == r["failed"] == r["refused"] == 0
    assert r["stored"] == r["put"] == r["acked"]  # what waited came to the disk when there was room
    assert r["worst_put_us"] < 250_000  # a copy into a queue, on however busy a machine
    assert "make room" in r["log"] and "works again" in r["log"]
    late = [r for r in r["requests_during"] if r[0] == -11]
    assert late and max(ms for _, ms in late) < 2000  # requests are told at once that it can't be now


def test_a_read_only_disk_is_named_and_works_when_it_is_not(place):
    r = on_a_disk("read_only", place)
    assert r["code"] == 0
    assert r["acked_during"] == 0
    assert r["lost"] == r["failed"] == r["refused"] == 0
    assert r["stored"] == r["put"] == r["acked"]
    assert "read_only" in r["log"] and "works again" in r["log"]


@pytest.fixture(scope="module")
def validator():
    with open(f"{ROOT}/docs/export.schema.json", encoding="utf-8") as f:
        schema = json.load(f)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def export(place, calls):
    size, ndjson, digest, grown_kb = drive("export", f"{place}/ledger.db", calls).split()
    found = glob.glob(f"{place}/*.ndjson" if ndjson == "1" else f"{place}/*.json")
    assert len(found) == 1 and not glob.glob(f"{place}/*.part")
    with open(found[0], "rb") as f:
        data = f.read()
    assert len(data) == int(size)
    assert hashlib.sha256(data).hexdigest() == digest
    assert os.stat(found[0]).st_mode & 0o077 == 0
    return data.decode("utf-8"), ndjson == "1", int(grown_kb)


def test_an_export_is_what_its_schema_says(place, validator):
    text, ndjson, _ = export(place, 300)
    document = json.loads(text)
    assert not ndjson
    validator.validate(document)
    assert len(document["calls"]) == len(document["pushes"]) == len(document["quality_samples"]) == 300
    assert {c["quality"]["mos_p10"] for c in document["calls"]} == {4.196}
    assert {s["call_id"] for s in document["quality_samples"]} == {c["call_id"] for c in document["calls"]}
    assert len({c["call_id"] for c in document["calls"]}) == 300
    assert [c["created"] for c in document["calls"]] == sorted((c["created"] for c in document["calls"]), reverse=True)
    assert len(document["devices"]) == 1
    assert "00fc13adff785122b4ad28809a3420982341" not in text  # the token
    document["calls"][0]["peer_device"] = "x"
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(document)


def test_a_hundred_thousand_calls_need_little_memory(place, validator):
    text, ndjson, grown_kb = export(place, CALLS)
    lines = [json.loads(line) for line in text.splitlines()]
    assert ndjson
    kinds = [line["record"] for line in lines]
    assert kinds.count("call") == kinds.count("push") == kinds.count("sample") == CALLS
    assert kinds[0] == "head" and kinds[-1] == "end"
    assert len({line["call_id"] for line in lines if line["record"] == "call"}) == CALLS
    for line in lines[:50] + lines[50:-50:200] + lines[-50:]:
        validator.validate(line)
    assert grown_kb < 20_000

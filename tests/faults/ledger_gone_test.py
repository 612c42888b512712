"""The ledger's database restarts or crashes, or its disk is full, while people call: no call waits for it, the server
says what is wrong, and in the end each call has its record, once. SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import concurrent.futures
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import pytest

from faultworld import CONFIG, LONG, SEED, elsewhere, figure, say, sized, unharmed
from soripostgres import Postgres
from soriserver import Server
from truth import Crowd

LEDGER = "records_per_min = 0\n[ledger]\ntoken_key_file = @FOLDER@/secret\n{where}\n"
PEOPLE, CALLS, SETUPS_PER_S = sized(24, 200), sized(4, 40), sized(20, 60)
DISK_MB = 8
AWAY_S = sized(0.5, 10)
WITHIN_S = 30
STARTER = concurrent.futures.ThreadPoolExecutor(1)  # what is started dies with its thread
SLOWEST_S = 1.5  # a set-up that waited for the ledger would take longer


@pytest.fixture
def place():
    path = tempfile.mkdtemp(prefix="sori-gone-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def readyz(server):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.admin}/readyz", timeout=5) as r:
            return r.read().decode()
    except urllib.error.HTTPError as e:
        return e.read().decode()


async def says(server, word, wanted=True):
    """Waits until /readyz names it, or does not any more."""
    deadline = time.monotonic() + WITHIN_S
    while (word in (text := await elsewhere(readyz, server))) != wanted:
        assert time.monotonic() < deadline, text
        await asyncio.sleep(0.05)


async def all_there(crowd, count):
    """Waits until there are as many records as calls have ended."""
    deadline = time.monotonic() + WITHIN_S
    ended = sum(bool(c.ended) for c in crowd.calls.values())
    while (found := await elsewhere(count)) != ended:
        assert time.monotonic() < deadline, f"{found} records of {ended} calls"
        await asyncio.sleep(0.1)
    return ended


def scene(server, fault, count):
    """Verdict, and records."""
    async def go():
        async with Crowd([server.wss], people=PEOPLE, calls=CALLS, seed=SEED, setups_per_s=SETUPS_PER_S) as crowd:
            await asyncio.sleep(1)
            await fault()
            await asyncio.sleep(1)
            crowd.tasks[-1].cancel()  # no more set-ups
            await asyncio.sleep(1)
            await crowd.quiet()
            records = await all_there(crowd, count)
        return crowd.verdict(), records
    v, records = asyncio.run(go())
    say(f"{records} records; " + ", ".join(f"{k}={round(x, 3) if isinstance(x, float) else x}" for k, x in v.items() if x is not None))
    unharmed(v)
    assert v["outages"] == 0 and v["setups"] > SETUPS_PER_S and v["setup_max_s"] < SLOWEST_S, v
    assert records >= v["setups"] - 2  # some had only begun
    return v


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["restarts", "crashes"])
def test_the_database_goes_and_comes_back(place, how):
    with Postgres() as pg:
        db = pg.database()
        where = f"postgres = {db.where}\nerased_file = {place}/erased\n[privacy]\nexport_dir = {place}"
        with Server(CONFIG, extra=LEDGER.format(where=where)) as server:
            async def fault():
                await elsewhere(pg.stop, how)
                await says(server, "degraded")
                await asyncio.sleep(AWAY_S)
                await asyncio.get_running_loop().run_in_executor(STARTER, pg.start)
                await says(server, "degraded", False)
            v = scene(server, fault, lambda: int(db.sql("SELECT count(*) FROM cdr WHERE end_ms > 0")))
            assert db.sql("SELECT count(*) FROM cdr_party") == str(2 * int(db.sql("SELECT count(*) FROM cdr")))
    figure("ledger_gone_setup_p99_s", v["setup_p99_s"] if LONG else None)


def test_the_disk_is_full_and_has_room_again(place):
    mount = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o size={DISK_MB}m none "$0" && exec "$@"', place]
    with Server(CONFIG, extra=LEDGER.format(where=f"file = {place}/ledger.db"), prefix=mount) as server:
        seen = f"/proc/{server.d.pid}/root{place}"

        def count():
            out = subprocess.run(["nsenter", "-m", "-t", str(server.d.pid), "sqlite3", f"{place}/ledger.db",
                                  ".timeout 10000", "SELECT count(*) FROM cdr WHERE end_ms > 0"],
                                 capture_output=True, text=True, check=True)
            return int(out.stdout)

        def fill():
            with contextlib.suppress(OSError), open(f"{seen}/filler", "wb", buffering=0) as f:
                while True:
                    f.write(bytes(4096))

        async def fault():
            await elsewhere(fill)
            await says(server, "degraded")
            await asyncio.sleep(AWAY_S)
            os.unlink(f"{seen}/filler")
            await says(server, "degraded", False)
        scene(server, fault, count)

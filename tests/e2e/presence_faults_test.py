"""What presence over Redis does when Redis dies, or its master. SPDX-License-Identifier: BSD-3-Clause
"""
import contextlib
import time

import pytest

from presenceworld import clean, conforming, ini  # pylint: disable=unused-import
from soriredis import Redis, Sentinel


def test_redis_dies_and_comes_back_empty():
    with Redis() as r, conforming("restart", ini(f"servers = 127.0.0.1:{r.port}")) as (p, go_on):
        r.stop()
        go_on()
        assert p.stdout.readline() == "away\n"
        r.start()
        go_on()


def wait_until(so):
    deadline = time.monotonic() + 15
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def knows_all(sentinel):
    try:
        m = sentinel.master()
    except OSError:
        return False
    return m[b"num-slaves"] == b"1" and m[b"num-other-sentinels"] == b"2"


def test_the_master_dies():
    with Redis() as master, Redis(None, "--replicaof", f"127.0.0.1 {master.port}", "--repl-diskless-sync-delay", "0") as replica, \
            contextlib.ExitStack() as stack:
        s = [stack.enter_context(Sentinel(master, 2)) for _ in range(3)]
        wait_until(lambda: b"master_link_status:up" in replica.do("INFO", "replication"))
        wait_until(lambda: all(knows_all(x) for x in s))
        at = ", ".join(f"127.0.0.1:{x.port}" for x in s)
        with conforming("failover", ini(f"sentinels = {at}")) as (_, go_on):
            master.stop()
            go_on()


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-q"]))

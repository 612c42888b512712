"""Redis goes, comes back and changes its master, and a node dies, while people of two nodes talk and call.
SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import contextlib
import time

import clusterworld
from clusterworld import Cluster
from faultworld import LONG, SEED, crash, elsewhere, figure, say, sized
from soriredis import Redis, Sentinel
from truth import Crowd, percentile

EXTRA = "messages_per_s = 1000\nmessages_burst = 1000\nlogin_failures_per_10min = 0\n"
GONE_S = sized(2, 60)
FAILOVER_ADDED_S, PRESENCE_S = 4, 10


def judged(v):
    say(", ".join(f"{k}={round(x, 3) if isinstance(x, float) else x}" for k, x in v.items() if x is not None))
    return v


def test_redis_is_gone_and_calls_go_on():
    """Callers are on one node, callees on the other: what they say meanwhile comes when Redis is back, once."""
    async def go(cluster):
        async with Crowd([cluster["a"].ws, cluster["b"].ws], people=sized(20, 200), calls=sized(8, 80), seed=SEED,
                         talk_every_s=1) as crowd:
            await asyncio.sleep(0.5)
            await elsewhere(cluster.redis.stop)
            await asyncio.sleep(GONE_S)
            await elsewhere(cluster.redis.start)
            back = time.monotonic()
            await elsewhere(cluster.wait_ready, "a", "ready\n", 10)
            say(f"ready {time.monotonic() - back:.2f} s after Redis is back")
            await asyncio.sleep(2)
            await crowd.quiet()
        return judged(crowd.verdict())
    with Cluster("a", "b", extra=EXTRA) as cluster:
        v = asyncio.run(go(cluster))
    figure("redis_gone_calls_dropped", v["calls_dropped"] if LONG else None)
    figure("redis_gone_messages_lost", v["messages_lost"])
    assert v["calls_dropped"] == v["outages"] == v["messages_doubled"] == v["gaps"] == 0, v


def test_a_node_dies_and_its_users_are_offline():
    async def go(cluster):
        n = sized(10, 200)
        async with Crowd([cluster["a"].ws], people=n, calls=0, prefix="watcher") as here, \
                Crowd([cluster["b"].ws], people=n, calls=0, prefix="watched") as there:
            names = [p.name for p in there.people]
            for p in here.people:
                got = await p.ask("presence.subscribe", data={"users": names})
                for u in got["users"]:
                    p.presence.setdefault(u["user"], (u["state"], time.monotonic()))
            await here.until(lambda: all(p.presence[x][0] == "online" for p in here.people for x in names), 15, "all online")
            await elsewhere(crash, cluster["b"].d)
            start = time.monotonic()
            await here.until(lambda: all(p.presence[x][0] == "offline" for p in here.people for x in names), 30, "all offline")
            took = time.monotonic() - start
            await elsewhere(cluster["b"].d.start)
            return took
    lease = clusterworld.CONFIG
    try:
        if LONG:  # as it is by default
            clusterworld.CONFIG = lease.replace("lease = {lease}\n", "").replace("presence_linger = 1\n", "")
        with Cluster("a", "b", extra=EXTRA) as cluster:
            took = asyncio.run(go(cluster))
    finally:
        clusterworld.CONFIG = lease
    say(f"presence is right {took:.2f} s after the death")
    figure("presence_right_s", took if LONG else None)
    assert took <= PRESENCE_S


@contextlib.contextmanager
def sentinels():
    """A master, two replicas and three Sentinels that know them; gives (master, sentinels)."""
    with contextlib.ExitStack() as stack:
        master = stack.enter_context(Redis())
        replicas = [stack.enter_context(Redis(None, "--replicaof", f"127.0.0.1 {master.port}",
                                              "--repl-diskless-sync-delay", "0")) for _ in range(2)]
        watchers = [stack.enter_context(Sentinel(master, 2)) for _ in range(3)]
        deadline = time.monotonic() + 20

        def settled():
            try:
                known = [s.master() for s in watchers]
            except OSError:
                return False
            return all(b"master_link_status:up" in r.do("INFO", "replication") for r in replicas) and all(
                m[b"num-slaves"] == b"2" and m[b"num-other-sentinels"] == b"2" for m in known)

        while not settled():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield master, watchers


def test_the_master_dies_and_calls_are_set_up():
    """Between users of two nodes; none fails, and none waits longer than the goal."""
    async def go(cluster, master):
        async with Crowd([cluster["a"].ws, cluster["b"].ws], people=sized(24, 120), calls=sized(4, 30), seed=SEED,
                         setups_per_s=sized(8, 20), talk_every_s=1) as crowd:
            await asyncio.sleep(sized(1, 5))
            killed = time.monotonic()
            await elsewhere(master.stop)
            await asyncio.sleep(sized(5, 15))
            await crowd.quiet()
        v = judged(crowd.verdict())
        before = [s for t, s, _, _ in crowd.setups if s is not None and t + s < killed]
        during = [s for t, s, _, _ in crowd.setups if s is not None and t + s >= killed]
        return v, max(during) - percentile(before, 0.5)

    text = clusterworld.CONFIG
    with sentinels() as (master, watchers):
        at = ", ".join(f"127.0.0.1:{s.port}" for s in watchers)
        try:
            clusterworld.CONFIG = text.replace("servers = {redis_at}:{redis}", f"sentinels = {at}").replace("lease = {lease}\n", "")
            with Cluster("a", "b", extra=EXTRA) as cluster:
                v, added = asyncio.run(go(cluster, master))
        finally:
            clusterworld.CONFIG = text
    say(f"a call took {added:.2f} s longer at most")
    figure("redis_failover_added_s", added if LONG else None)
    assert v["setups_failed"] == v["calls_dropped"] == v["messages_doubled"] == v["messages_lost"] == v["gaps"] == 0, v
    assert added <= FAILOVER_ADDED_S

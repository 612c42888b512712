"""Of two nodes one is killed under its clients: they go on at the other with nothing lost or doubled, and no call that
stood ends.
SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio

from clusterworld import Cluster
from faultworld import LONG, SEED, crash, elsewhere, figure, say, sized
from truth import Crowd

EXTRA = "messages_per_s = 1000\nmessages_burst = 1000\nlogin_failures_per_10min = 0\n"
PEOPLE, CALLS = sized(24, 10_000), sized(6, 200)
ALL_S, P99_S = 30, 15
TALK_S = sized(0.1, 1)
LATE_S = 4  # later than a lease and a take-over


async def killed(cluster, names):
    """The verdict on a crowd, half of it at each node, under which these were killed one after the other. Of each two
    clients one comes back only when the calls have another node."""
    async with Crowd([cluster["a"].ws, cluster["b"].ws], people=PEOPLE, calls=CALLS, seed=SEED, talk_every_s=TALK_S) as crowd:
        for name in names:
            await asyncio.sleep(1)
            for p in [p for p in crowd.people if p.urls[p.at] == cluster[name].ws][::2]:
                p.goaway = LATE_S
            await elsewhere(crash, cluster[name].d)
            await asyncio.sleep(0.5)
            await crowd.back(ALL_S)
            await elsewhere(cluster[name].d.start)
            await elsewhere(cluster.wait_ready, name, "ready\n", 15)
        await crowd.quiet()
    v = crowd.verdict()
    say(", ".join(f"{k}={round(x, 3) if isinstance(x, float) else x}" for k, x in v.items() if x is not None))
    return v


def judge(v):
    assert v["resumed"] == v["outages"] and v["away"] == 0, v
    assert v["calls_dropped"] == v["messages_lost"] == v["messages_doubled"] == v["gaps"] == 0, v
    assert v["resume_p99_s"] <= P99_S and v["resume_max_s"] <= ALL_S, v


def test_the_clients_of_a_killed_node_go_on_elsewhere():
    with Cluster("a", "b", extra=EXTRA) as cluster:
        v = asyncio.run(killed(cluster, "ab" if LONG else "a"))
    figure("server_kill_resume_p99_s", v["resume_p99_s"] if LONG and v["resumed"] == v["outages"] else None)
    figure("server_kill_calls_dropped", v["calls_dropped"] if LONG else None)
    figure("messages_lost", v["messages_lost"] if LONG else None)
    figure("messages_doubled", v["messages_doubled"] if LONG else None)
    judge(v)


def test_what_was_said_to_devices_of_a_killed_node_reaches_them_elsewhere():
    """The callers' node, which runs all calls, lives on."""
    with Cluster("a", "b", extra=EXTRA) as cluster:
        judge(asyncio.run(killed(cluster, "b")))

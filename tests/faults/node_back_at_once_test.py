"""A node of two ends, well or badly, and is back under its name before its lease is over: each of its calls goes on at
one node, and at one only. SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio

from clusterworld import Cluster
from faultworld import LONG, SEED, crash, elsewhere, figure, leave, say, sized
from truth import Crowd

EXTRA = "messages_per_s = 1000\nmessages_burst = 1000\nlogin_failures_per_10min = 0\n"
PEOPLE, CALLS = sized(24, 240), sized(8, 60)
ENDS = sized((leave, crash), (leave, crash) * 5)
CALM_S = 3


async def scene(cluster):
    async with Crowd([cluster["a"].ws, cluster["b"].ws], people=PEOPLE, calls=CALLS, seed=SEED, talk_every_s=0.2) as crowd:
        for i, end in enumerate(ENDS):
            await asyncio.sleep(1)
            d = cluster["ab"[i // 2 % 2]].d
            await elsewhere(end, d)
            await elsewhere(d.start)
            await crowd.back(30)
            await asyncio.sleep(CALM_S)
            v = crowd.verdict()
            say(f"{end.__name__}: {v['messages_doubled']} doubled, {v['calls_dropped']} calls dropped")
        await crowd.quiet()
    return crowd.verdict()


def test_a_call_of_a_node_that_is_back_at_once_has_one_node():
    with Cluster("a", "b", extra=EXTRA) as cluster:
        v = asyncio.run(scene(cluster))
    say(", ".join(f"{k}={round(x, 3) if isinstance(x, float) else x}" for k, x in v.items() if x is not None))
    figure("server_kill_calls_dropped", v["calls_dropped"] if LONG else None)
    figure("messages_lost", v["messages_lost"] if LONG else None)
    figure("messages_doubled", v["messages_doubled"] if LONG else None)
    assert v["messages_lost"] == v["messages_doubled"] == v["gaps"] == v["calls_dropped"] == v["away"] == 0, v
    assert v["resumed"] == v["outages"] > 0, v

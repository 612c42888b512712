"""One of two nodes stands still for longer than its lease (SIGSTOP, a paused machine): its calls go on at the other,
and when it runs again nothing is lost or said twice. SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio

from clusterworld import Cluster
from faultworld import LONG, SEED, figure, frozen, say, sized
from truth import Crowd

EXTRA = "messages_per_s = 1000\nmessages_burst = 1000\nlogin_failures_per_10min = 0\n"
PEOPLE, CALLS = sized(24, 240), sized(8, 60)
FROZEN_S = sized((2.5,), (1, 1.9, 2.2, 2.5, 3, 4, 6, 10))  # the lease is 2 s
CALM_S = 3  # those whom the thawed node was taken from have found each other by then


async def scene(cluster):
    async with Crowd([cluster["a"].ws, cluster["b"].ws], people=PEOPLE, calls=CALLS, seed=SEED, talk_every_s=0.2) as crowd:
        for seconds in FROZEN_S:
            await asyncio.sleep(1)
            with frozen(cluster["a"].d):
                await asyncio.sleep(seconds)
            await crowd.back(30)
            await asyncio.sleep(CALM_S)
            v = crowd.verdict()
            say(f"{seconds} s: {v['messages_doubled']} doubled, {v['calls_dropped']} calls dropped")
        await crowd.quiet()
    return crowd.verdict()


def test_a_node_that_stood_still_says_nothing_twice():
    with Cluster("a", "b", extra=EXTRA) as cluster:
        v = asyncio.run(scene(cluster))
    say(", ".join(f"{k}={round(x, 3) if isinstance(x, float) else x}" for k, x in v.items() if x is not None))
    figure("messages_lost", v["messages_lost"] if LONG else None)
    figure("messages_doubled", v["messages_doubled"] if LONG else None)
    assert v["messages_lost"] == v["messages_doubled"] == v["gaps"] == v["calls_dropped"] == v["away"] == 0, v

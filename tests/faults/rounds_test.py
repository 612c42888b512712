"""Rounds of faults, drawn by the seed: a node is killed, stopped, frozen or cut off from Redis, or Redis itself pauses,
while people of all nodes talk. After each round nothing is lost or said twice, no call has ended, each call is run by one
node, and who has just come can be called. SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import os
import random
import time

from clusterworld import Cluster
from faultworld import LONG, SEED, crash, elsewhere, figure, frozen, leave, say, sized
from truth import Crowd, Lost, Person, Refused

EXTRA = "messages_per_s = 1000\nmessages_burst = 1000\nlogin_failures_per_10min = 0\n"
ROUNDS = int(os.environ.get("FAULT_ROUNDS", sized(4, 1000)))
NODES = os.environ.get("FAULT_NODES", "a b c").split()
PEOPLE, CALLS = sized(24, 60), sized(8, 20)
LONGEST_S = 4  # twice a lease
SAVED_S = 1.5  # a node that has been without Redis has written all again
CALM_S = 20    # all that was said is heard by then, and each call has one owner
NEW = 8        # people who come after each round and call each other at once


class Round:
    kinds = ["killed", "killed_for_a_while", "restarted", "frozen", "cut_off", "redis_paused"]

    def __init__(self, cluster, draw, kinds=None, least_s=0.1, most_s=LONGEST_S):
        self.cluster, self.draw = cluster, draw
        self.name = draw.choice(cluster.names)
        self.seconds = draw.uniform(least_s, most_s)
        self.kind = getattr(self, draw.choice(kinds or self.kinds))

    def __str__(self):
        return f"{self.kind.__name__} {self.name} {self.seconds:.1f} s"

    async def killed(self):
        await elsewhere(crash, self.cluster[self.name].d)
        await elsewhere(self.cluster[self.name].d.start)

    async def killed_for_a_while(self):
        await elsewhere(crash, self.cluster[self.name].d)
        await asyncio.sleep(self.seconds)
        await elsewhere(self.cluster[self.name].d.start)

    async def restarted(self):
        await elsewhere(leave, self.cluster[self.name].d)
        await elsewhere(self.cluster[self.name].d.start)

    async def frozen(self):
        with frozen(self.cluster[self.name].d):
            await asyncio.sleep(self.seconds)

    async def cut_off(self):
        with self.cluster.cut_off(self.name):
            await asyncio.sleep(self.seconds)

    async def redis_paused(self):
        with frozen(self.cluster.redis):
            await asyncio.sleep(self.seconds)


def owners(cluster):
    """Of each call, the processes that live and have it, as Redis tells."""
    found = {}
    for key in cluster.redis.do("KEYS", "sori:calls:*"):
        epoch, node = key.decode().removeprefix("sori:calls:{").removesuffix("}").split(" ")
        if (cluster.redis.do("HGET", f"sori:node:{{{node}}}", "epoch") or b"").decode() != epoch:
            continue
        for field in cluster.redis.do("HKEYS", key):
            if len(field) == 36:  # a call id; its texts and what was taken have a letter before it
                found.setdefault(field.decode(), []).append(node)
    return found


def where(crowd, key):
    """The nodes of who says and who should hear, and how often they have lost their sockets."""
    call = crowd.calls[key[0]]
    return [(p.name, crowd.urls.index(p.urls[p.at]), len(p.outages)) for p in (call.caller, call.callee)]


def wrongs(crowd, cluster, mark, words):
    """What is not as it should be: of all that was said, nothing of before mark is missing or doubled (words), and of each
    call something that was said since is heard on both sides."""
    v, now = crowd.verdict(), owners(cluster)
    wrong = [f"{what} {v[what]}" for what in ("gaps", "calls_dropped", "away") if v[what]]
    wrong += [f"messages_doubled {v['messages_doubled']}"] if words and v["messages_doubled"] else []
    wrong += [f"{p.name} was closed with {p.outages[-1][3]}" for p in crowd.people if not p.online.is_set()][:3]
    wrong += [f"{c.id} ended: {list(c.ended.items())}" for c in crowd.standing if c.dropped][:2]
    wrong += [f"lost: {key}, {where(crowd, key)}" for key in crowd._missing()
              if words and crowd.said[key] <= mark][:3]
    talks = {key[:2] for key, t in crowd.said.items() if t > mark and key in crowd.heard}
    wrong += [f"{c.id}: {p.name} hears nothing" for c in crowd.standing for p in (c.caller, c.callee)
              if not c.over.is_set() and (c.id, p.name) not in talks][:3]
    wrong += [f"{c.id} has {now.get(c.id)}" for c in crowd.standing if len(now.get(c.id, [])) != 1][:3]
    return wrong


async def newcomers(crowd, n):
    """Who has just come, and calls at once: what went wrong."""
    at = len(crowd.urls)
    new = [Person(crowd, f"new{n}-{i}", crowd.urls[i % at:] + crowd.urls[:i % at]) for i in range(NEW)]
    for p in new:
        p.task = asyncio.ensure_future(p.live())

    async def meet(a, b):
        try:
            await a.hang_up(await a.call(b))
        except (Lost, Refused) as e:
            return f"{a.name} has called {b.name}: {e}"
        return None
    try:
        await crowd.back(10, new)
        wrong = await asyncio.gather(*(meet(a, b) for a, b in zip(new[::2], new[1::2])))
    finally:
        for p in new:
            p.task.cancel()
            if p.wire:
                p.wire.abort()
    return [w for w in wrong if w]


async def settled(crowd, cluster, words):
    """Waits until all is well; says what is not when that does not come."""
    await asyncio.sleep(SAVED_S)
    mark, wrong = time.monotonic(), ["not looked"]
    while wrong and time.monotonic() < mark + CALM_S:
        await asyncio.sleep(0.2)
        wrong = wrongs(crowd, cluster, mark, words)
    return wrong


def faults_of_a_round(cluster, draw, at_once, what):
    """One fault, or two of different nodes; Redis pauses once."""
    faults = [Round(cluster, draw, **what)]
    while len(faults) < at_once:
        more = Round(cluster, draw, **what)
        if all(more.name != f.name and not more.kind.__name__ == f.kind.__name__ == "redis_paused" for f in faults):
            faults.append(more)
    return faults


async def scene(cluster, rounds, at_once, **what):
    draw = random.Random(SEED)
    async with Crowd([cluster[n].ws for n in cluster.names], people=PEOPLE, calls=CALLS, seed=SEED, talk_every_s=0.3) as crowd:
        for i in range(rounds):
            faults = faults_of_a_round(cluster, draw, at_once, what)
            name = " + ".join(str(f) for f in faults)
            await asyncio.gather(*(f.kind() for f in faults))
            await crowd.back(30)
            wrong = await settled(crowd, cluster, words=at_once == 1) + await newcomers(crowd, i)
            if LONG and (wrong or i % 10 == 9):
                say(f"round {i + 1} of {rounds}, {name}: {'; '.join(wrong) or 'all well'}")
            assert not wrong, (i, name, wrong)
        await (crowd.quiet() if at_once == 1 else asyncio.sleep(0))
    return crowd.verdict()


def many(rounds, names, at_once=1, **what):
    with Cluster(*names, extra=EXTRA) as cluster:
        v = asyncio.run(scene(cluster, rounds, at_once, **what))
    say(", ".join(f"{k}={round(x, 3) if isinstance(x, float) else x}" for k, x in v.items() if x is not None))
    if at_once == 1:
        figure("messages_lost", v["messages_lost"] if LONG else None)
        figure("messages_doubled", v["messages_doubled"] if LONG else None)


def test_after_each_round_nothing_is_lost_and_each_call_has_one_owner():
    many(ROUNDS, NODES)
    figure("rounds", ROUNDS)


def test_who_was_away_for_about_a_lease_does_nothing_twice():
    """Others take it for dead, or are about to, when it is back and has done what they asked."""
    many(sized(2, 50), NODES[:2], kinds=["cut_off", "frozen"], least_s=1.3, most_s=3)


def test_two_faults_at_once_end_no_call():
    """What only the two have known may be lost: single messages, as docs/CLUSTER.md says. Nothing else."""
    many(sized(3, 100), NODES, at_once=2)

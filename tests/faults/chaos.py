#!/usr/bin/python3
"""make chaos: three servers around one Redis, people in calls, and a random fault each minute.

    tests/faults/chaos.py MINUTES [SEED]

After each fault it prints what is true by now at the clients. Ends with FIGURE chaos_setup_success (of calls that are
tried once more when they fail) and FIGURE chaos_calls_dropped. The seed decides which faults come, and in which order.
SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import collections
import os
import random
import sys
import time

from clusterworld import Cluster
from faultworld import crash, elsewhere, frozen, leave
from truth import Crowd, Lost, Refused

PEOPLE = int(os.environ.get("CHAOS_PEOPLE", "240"))
CALLS = int(os.environ.get("CHAOS_CALLS", "60"))
SETUPS_PER_S = float(os.environ.get("CHAOS_SETUPS", "10"))
PERIOD_S = float(os.environ.get("CHAOS_PERIOD", "60"))
BACK_S = 45
EXTRA = "messages_per_s = 1000\nmessages_burst = 1000\nlogin_failures_per_10min = 0\n"


class Chaos:
    def __init__(self, cluster, crowd, draw):
        self.cluster, self.crowd, self.draw = cluster, crowd, draw

    def node(self):
        return self.draw.choice(self.cluster.names)

    async def kill_a_server(self):
        d = self.cluster[self.node()].d
        await elsewhere(crash, d)
        await elsewhere(d.start)

    async def restart_a_server(self):
        d = self.cluster[self.node()].d
        await elsewhere(leave, d)
        await elsewhere(d.start)

    async def stop_a_server_for_a_while(self):
        with frozen(self.cluster[self.node()].d):
            await asyncio.sleep(self.draw.uniform(0.5, 5))

    async def cut_a_server_off_redis(self):
        with self.cluster.cut_off(self.node()):
            await asyncio.sleep(self.draw.uniform(0.5, 5))

    async def pause_redis(self):
        with frozen(self.cluster.redis):
            await asyncio.sleep(self.draw.uniform(0.5, 5))

    async def kill_redis(self):
        await elsewhere(self.cluster.redis.stop)
        await asyncio.sleep(self.draw.uniform(0, 5))
        await elsewhere(self.cluster.redis.start)

    async def cut_a_tenth_of_the_clients(self):
        for p in self.draw.sample(self.crowd.people, len(self.crowd.people) // 10):
            if p.online.is_set():
                p.wire.abort()

    async def a_tenth_reads_nothing_for_a_while(self):
        slow = [p.wire.transport for p in self.draw.sample(self.crowd.people, len(self.crowd.people) // 10)
                if p.online.is_set()]
        for t in slow:
            t.pause_reading()
        await asyncio.sleep(self.draw.uniform(0.5, 5))
        for t in slow:
            if not t.is_closing():
                t.resume_reading()

    def faults(self):
        return [self.kill_a_server, self.restart_a_server, self.stop_a_server_for_a_while,
                self.cut_a_server_off_redis, self.pause_redis,
                self.kill_redis, self.cut_a_tenth_of_the_clients, self.a_tenth_reads_nothing_for_a_while]

    async def mend_calls(self):
        """Calls that are over begin anew, so that the next fault has its load."""
        async def again(call):
            try:
                return await call.caller.call(call.callee)
            except (Lost, Refused):
                return call
        self.crowd.standing = [c if not c.over.is_set() else await again(c) for c in self.crowd.standing]

    async def one(self, fault):
        await fault()
        try:
            await self.crowd.back(BACK_S)
        except asyncio.TimeoutError:
            print(f"  {sum(not p.online.is_set() for p in self.crowd.people)} clients are not back after {BACK_S} s")
        await asyncio.sleep(2)
        await self.mend_calls()


def state(crowd):
    v = crowd.verdict()
    ok = v["setups"] - v["setups_failed"]
    return (f"online {sum(p.online.is_set() for p in crowd.people)}/{v['people']}, calls standing "
            f"{sum(not c.over.is_set() for c in crowd.standing)}/{len(crowd.standing)}, dropped {v['calls_dropped']}, "
            f"set-ups {ok}/{v['setups']}, said {v['said']}, lost {v['messages_lost']}, doubled {v['messages_doubled']}, "
            f"gaps {v['gaps']}, resumed {v['resumed']}/{v['outages']}, loop late {v['late_ms']} ms")


def tell_failures(crowd, told):
    """Why set-ups failed since the last time; gives how many there have been in all."""
    failed = [why for _, took, _, why in crowd.setups if took is None]
    for why, n in collections.Counter(failed[told:]).most_common(3):
        print(f"  {n} failed: {why}", flush=True)
    closed = [(p.name, p.outages[-1][3]) for p in crowd.people if not p.online.is_set()]
    if closed:
        print(f"  not online, and closed with: {closed[:3]}", flush=True)
    return len(failed)


async def run(cluster, minutes, seed):
    draw = random.Random(seed)
    urls = [cluster[name].ws for name in cluster.names]
    async with Crowd(urls, people=PEOPLE, calls=CALLS, seed=seed, setups_per_s=SETUPS_PER_S, talk_every_s=1) as crowd:
        chaos = Chaos(cluster, crowd, draw)
        bag, told = [], 0
        for minute in range(minutes):
            due = time.monotonic() + PERIOD_S
            if not bag:
                bag = chaos.faults()
                draw.shuffle(bag)
            fault = bag.pop()
            print(f"minute {minute + 1}/{minutes}: {fault.__name__.replace('_', ' ')}", flush=True)
            await chaos.one(fault)
            await asyncio.sleep(max(0, due - time.monotonic()))
            print(f"  {state(crowd)}", flush=True)
            told = tell_failures(crowd, told)
        await crowd.quiet()
    print(f"at the end: {state(crowd)}")
    return crowd.verdict()


def main():
    minutes = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    seed = int(sys.argv[2]) if len(sys.argv) > 2 and sys.argv[2] else random.randrange(1 << 31)
    print(f"chaos of {minutes} minutes, seed {seed}: {PEOPLE} people, {CALLS} calls that stand, "
          f"{SETUPS_PER_S:g} set-ups a second", flush=True)
    with Cluster("a", "b", "c", extra=EXTRA) as cluster:
        v = asyncio.run(run(cluster, minutes, seed))
    broken = v["messages_lost"] + v["messages_doubled"] + v["gaps"] + v["away"]
    print(f"messages: {v['said']} said, {v['messages_lost']} lost, {v['messages_doubled']} doubled; {v['gaps']} gaps; "
          f"{v['away']} clients away; {v['setups']} set-ups, worst {v['setup_max_s'] or 0:.2f} s")
    success = (v["setups"] - v["setups_failed"]) / v["setups"] if v["setups"] else None
    print(f"FIGURE chaos_setup_success={'missing' if success is None else f'{success:.6f}'}")
    print(f"FIGURE chaos_calls_dropped={v['calls_dropped']}")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()

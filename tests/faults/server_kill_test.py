"""A node that is killed, stopped or restarted with people in calls, alone: everybody is back at once and told the
truth, and nobody goes on in a call that is none. (That calls themselves outlive it takes a second node.)
SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import time

from faultworld import LONG, crash, elsewhere, frozen, leave, run, say, sized, unharmed

PEOPLE, CALLS = sized(24, 400), sized(6, 100)
BACK_S = 30
STOP_S = sized(2, 5)


async def all_told(crowd, timeout_s=30):
    """Everybody who was in a call knows that it is over."""
    await crowd.until(lambda: all(len(c.ended) == 2 for c in crowd.standing), timeout_s, "calls are told to be over")


async def new_calls(crowd):
    """Each pair finds the other again."""
    crowd.standing = list(await asyncio.gather(*(c.caller.call(c.callee) for c in crowd.standing)))


def test_killed_and_back_everybody_is_there_and_knows_the_truth():
    async def test(server, crowd):
        await asyncio.sleep(1)
        await elsewhere(crash, server.d)
        await crowd.cut_off()
        await elsewhere(server.d.start)
        say(f"{len(crowd.people)} clients back {await crowd.back(BACK_S):.2f} s after the server was")
        await all_told(crowd)
        assert {reason for c in crowd.standing for _, reason in c.ended.values()} == {"call.sync: call.not_found"}
        await new_calls(crowd)
        await asyncio.sleep(1)
    v = run(test, people=PEOPLE, calls=CALLS)
    assert v["outages"] >= PEOPLE and v["away"] == 0 and v["resumed"] == 0
    assert v["calls_dropped"] == CALLS  # as far as one node goes, and not more
    assert v["messages_lost"] == v["messages_doubled"] == v["gaps"] == 0  # of the new calls
    assert v["resume_p99_s"] < BACK_S / 2, v


def test_stopped_for_seconds_nobody_is_lost():
    """SIGSTOP: no socket breaks, no call ends, and what was said meanwhile comes once."""
    async def test(server, crowd):
        await asyncio.sleep(0.5)
        with frozen(server.d):
            await asyncio.sleep(STOP_S)
        start = time.monotonic()
        await crowd.people[0].ask("call.sync", crowd.standing[0].id)
        say(f"answers {time.monotonic() - start:.3f} s after it goes on")
        await asyncio.sleep(1)
    v = run(test, people=PEOPLE, calls=CALLS, setups_per_s=sized(3, 20))
    unharmed(v)
    assert v["outages"] == 0 and v["setups"] > 0
    assert v["setup_max_s"] < STOP_S + sized(2, 4)


def test_restarted_under_load_new_calls_need_one_retry_at_most():
    async def test(server, crowd):
        for _ in range(sized(1, 5)):
            await asyncio.sleep(1)
            await elsewhere(leave, server.d)
            await crowd.cut_off()
            await elsewhere(server.d.start)
            await crowd.back(BACK_S)
            await all_told(crowd)
            await new_calls(crowd)
        await asyncio.sleep(1 if LONG else 0.5)
    v = run(test, people=PEOPLE, calls=CALLS, setups_per_s=sized(3, 20))
    assert v["away"] == 0 and v["messages_doubled"] == v["messages_lost"] == v["gaps"] == 0
    assert v["setups"] > 0 and v["resume_p99_s"] < BACK_S / 2, v

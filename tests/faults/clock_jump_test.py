"""The machine's clock jumps by an hour, to and fro, while people talk: timers do not notice, nobody is thrown out and
who arrives is let in.

Tokens end by the clock, so an hour ahead makes those of arriving clients invalid, as it must; clients' own clocks jump
with it here. SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import glob
import os
import tempfile

import pytest

import truth
from faultworld import run, say, sized, unharmed
from soriclient import token

JUMPS_S = sized([3600, -600, 0], [3600, 0, -600, 0, -3600, 1, 0])


@pytest.mark.skipif(bool(os.environ.get("SAN")), reason="sanitizers and faketime both want to be loaded first")
def test_jumps_of_the_clock_end_no_call(monkeypatch):
    with tempfile.NamedTemporaryFile("w", suffix=".clock") as clock:
        now = [0]

        def jump(seconds):
            now[0] = seconds
            clock.seek(0)
            clock.truncate()
            clock.write(f"{seconds:+d}\n")
            clock.flush()

        monkeypatch.setattr(truth, "token", lambda user: token(user, life_s=1800 + now[0]))
        jump(0)
        env = {"LD_PRELOAD": glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")[0], "FAKETIME_NO_CACHE": "1",
               "FAKETIME_TIMESTAMP_FILE": clock.name, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

        async def test(server, crowd):
            person = crowd.people[-1]
            for seconds in JUMPS_S:
                jump(seconds)
                await asyncio.sleep(sized(0.6, 4))
                person.wire.abort()  # comes back, and is let in
                await crowd.until(lambda n=len(person.outages): len(person.outages) > n and person.online.is_set(), 10,
                                  "it is back")
                say(f"{seconds:+d} s: {sum(not c.over.is_set() for c in crowd.standing)} calls stand")

        v = run(test, env=env, people=sized(16, 100), calls=sized(6, 45), setups_per_s=sized(4, 10))
        unharmed(v)
        assert v["outages"] == len(JUMPS_S) == v["resumed"]

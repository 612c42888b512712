"""sori-server without descriptors, without memory, with clients that do not read, and with ones that vanish: whoever is
there goes on, and it is as it was when the want is over.
SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import socket
import subprocess
import time

from faultworld import LONG, cpu_s, fds, figure, rss_bytes, run, say, sized, unharmed

PEOPLE, CALLS = sized(20, 100), sized(5, 40)
FD_LIMIT = PEOPLE + 40
MIB = 1 << 20


def test_no_descriptors_refuses_newcomers_and_nobody_else():
    async def test(server, crowd):
        hoard = [socket.create_connection(("127.0.0.1", server.clear)) for _ in range(FD_LIMIT + 20)]
        try:
            before, start = cpu_s(server.d.pid), time.monotonic()
            await asyncio.sleep(sized(1, 5))
            share = (cpu_s(server.d.pid) - before) / (time.monotonic() - start)
            say(f"{fds(server.d.pid)} of {FD_LIMIT} descriptors, CPU {share:.1%}")
            assert fds(server.d.pid) >= FD_LIMIT - 4
            assert share < 0.2  # it does not spin
        finally:
            for s in hoard:
                s.close()
        start = time.monotonic()
        late = type(crowd.people[0])(crowd, "late", [server.wss])
        late.task = asyncio.ensure_future(late.live())
        await asyncio.wait_for(late.online.wait(), 10)
        say(f"lets in again after {time.monotonic() - start:.2f} s")
        assert time.monotonic() - start < 2
        late.task.cancel()
        late.wire.abort()
    v = run(test, extra="[session]\nhandshake_timeout = 60\n", prefix=("prlimit", f"--nofile={FD_LIMIT}:{FD_LIMIT}"),
            people=PEOPLE, calls=CALLS, setups_per_s=3)
    unharmed(v)
    assert v["outages"] == 0


def test_no_memory_fails_requests_and_not_the_server():
    """Address space is short from one moment on: newcomers may be refused, calls that stand go on."""
    async def test(server, crowd):
        vm = int(open(f"/proc/{server.d.pid}/statm", encoding="ascii").read().split()[0]) * 4096
        subprocess.run(["prlimit", "--pid", str(server.d.pid), f"--as={vm + 2 * MIB}:unlimited"], check=True)
        more = [type(crowd.people[0])(crowd, f"more{i}", [server.wss]) for i in range(sized(150, 600))]
        for p in more:
            p.task = asyncio.ensure_future(p.live())
        await asyncio.sleep(sized(2, 8))
        got_in = sum(p.online.is_set() for p in more)
        say(f"{got_in} of {len(more)} newcomers got in")
        subprocess.run(["prlimit", "--pid", str(server.d.pid), "--as=unlimited:unlimited"], check=True)
        for p in more:
            p.task.cancel()
            if p.wire:
                p.wire.abort()
        a, b = crowd.people[-2:]
        call = await a.call(b)
        await a.hang_up(call)
    v = run(test, people=PEOPLE, calls=CALLS)
    unharmed(v)


def test_those_who_do_not_read_cost_a_bounded_queue_and_nobody_else():
    async def test(server, crowd):
        n = CALLS // 2
        slow = [c.callee for c in crowd.standing[:n]]
        rss = rss_bytes(server.d.pid)
        for p in slow:
            p.wire.transport.pause_reading()
        text = "x" * 900
        end = time.monotonic() + sized(2.5, 12)
        worst = 0.0
        while time.monotonic() < end:
            for c in crowd.standing[:n]:
                for _ in range(20):
                    c.caller.send("call.info", c.id, {"custom": {"n": 0, "x": text}}, reply=False)
            start = time.monotonic()
            await crowd.standing[-1].caller.ask("call.sync", crowd.standing[-1].id)
            worst = max(worst, time.monotonic() - start)
            await asyncio.sleep(0.05)
        grown = rss_bytes(server.d.pid) - rss
        say(f"{n} slow readers: {grown / n / 1024:.0f} KiB each, others wait {worst * 1000:.0f} ms at most")
        assert grown < n * 1024 * 1024 + 8 * MIB
        assert worst < 1
        for p in slow:
            if p.wire.transport and not p.wire.transport.is_closing():
                p.wire.transport.resume_reading()
    # Talk of the calls with slow readers isn't counted: they may be closed, and then start over.
    v = run(test, extra="[session]\nping_call = 1\n", people=PEOPLE, calls=CALLS, talk_every_s=1e9)
    assert v["gaps"] == v["messages_lost"] == 0, v


def test_a_connection_that_vanished_is_found():
    """Half open: packets of the callees are dropped, no FIN comes. Their callers are told, and nobody else."""
    async def test(server, crowd):
        gone = [c.callee for c in crowd.standing[:2]]
        ports = ", ".join(str(p.wire.transport.get_extra_info("sockname")[1]) for p in gone)
        await asyncio.sleep(0.3)
        rules = f"""table inet cut {{
            chain arriving {{
                type filter hook input priority 0
                tcp sport {{ {ports} }} drop
                tcp dport {{ {ports} }} drop
            }}
        }}"""
        subprocess.run(["nft", "-f", "-"], input=rules.encode(), check=True)
        start = time.monotonic()
        try:
            told = {c.id for c in crowd.standing[:2]}
            await crowd.until(lambda: told <= {i for t, _, i, s in crowd.states if s == "reconnecting" and t > start}, 15,
                              "callers are told")
            took = time.monotonic() - start
        finally:
            subprocess.run(["nft", "delete", "table", "inet", "cut"], check=True)
        say(f"half-open connections found after {took:.2f} s")
        figure("half_open_found_s", took)
        assert took < (10.5 if LONG else 3)
        for p in gone:
            p.wire.abort()
        await crowd.back(20, gone)
    v = run(test, extra="" if LONG else "[session]\nping_call = 1\n", people=PEOPLE, calls=CALLS)
    unharmed(v)
    assert v["resumed"] == v["outages"] == 2

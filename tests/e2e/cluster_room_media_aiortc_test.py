"""A room over two servers with real media: tones are heard across nodes, and go on when the node that runs the
room is killed. SPDX-License-Identifier: BSD-3-Clause"""
import asyncio

import numpy
import pytest

from aiortcworld import LOUD, Mover, within
from nodesworld import Nodes, until
from soridaemon import metric


class Listener(Mover):
    """Knows the longest silence it has heard."""
    loud_at, gap = None, 0

    async def _listen(self, track):
        loop = asyncio.get_running_loop()
        try:
            while True:
                frame = await track.recv()
                if numpy.abs(frame.to_ndarray().astype(numpy.int32)).max() <= LOUD:
                    continue
                now = loop.time()
                if self.loud_at:
                    self.gap = max(self.gap, now - self.loud_at)
                self.loud_at = now
                self.loud += 1
                if self.loud > 10:
                    self.heard.set()
        except Exception:  # the track ends
            pass

    async def _follow(self):
        self.states = asyncio.Queue()
        loop = asyncio.get_running_loop()
        while True:
            m = await self.next(timeout=None)
            if m["type"] == "room.restart":
                self.restarts.append((loop.time(), m["data"]["reason"]))
            if m["type"] == "room.state":
                self.states.put_nowait(m["data"])


@pytest.mark.parametrize("again", [False, True], ids=["killed", "killed_and_back_at_once"])
def test_tones_cross_nodes_and_do_not_stop_when_the_runner_dies(again):
    with Nodes("eu-a", "eu-b", extra="[room]\njoins_per_10s = 0\n") as c:
        c.sfus = [c.sfu("s1")]
        for n in ("eu-a", "eu-b"):
            until(lambda: metric(c[n].admin, 'sori_registered_usable{kind="sfu"}') == 1)
        until(lambda: metric(c.sfus[0].admin, "sori_sfu_control_connections") == 2)

        async def go():
            loop = asyncio.get_running_loop()
            alice, bob = Listener(c["eu-a"].ws, "alice", "r"), Listener(c["eu-b"].ws, "bob", "r")
            try:
                for m in (alice, bob):
                    await m.join()
                for m in (alice, bob):
                    await within(m.heard.wait(), f"{m.user} hears")
                assert metric(c.sfus[0].admin, "sori_sfu_rooms") == 1
                bob.gap = 0
                await loop.run_in_executor(None, c.kill, "eu-a")
                if again:
                    await loop.run_in_executor(None, c.start, "eu-a")
                state = await within(bob.states.get(), "bob is told how all is", 10)
                (p,) = state["participants"]
                assert p["user"] == "alice" and p["state"] == "reconnecting", state
                bob.loud = 0
                bob.heard.clear()
                await within(bob.heard.wait(), "bob still hears")
                print(f"longest silence over the takeover: {1000 * bob.gap:.0f} ms")
                assert bob.gap < 0.3 and not bob.restarts, (bob.gap, bob.restarts)
                assert metric(c.sfus[0].admin, "sori_sfu_participants") == 2
            finally:
                for m in (alice, bob):
                    await m.leave()
        asyncio.run(asyncio.wait_for(go(), 60))


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-q", "-s"]))

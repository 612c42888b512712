"""A stay in a real room: two aiortc clients through sori-sfu, whose own counters become their records of
quality. SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import contextlib

from aiortcworld import Member, within
from quality_socket_test import until_kept
from sfu_data_aiortc_test import run

LEDGER = """
[ledger]
file = @FOLDER@/ledger.db
token_key_file = @FOLDER@/secret
"""


class Judged(Member):
    """A participant that waits for what is said of its own connection."""

    async def _follow(self):
        self.word = asyncio.get_running_loop().create_future()
        while True:
            m = await self.next(timeout=None)
            if m["type"] == "room.quality" and not self.word.done():
                for p in m["data"]["participants"]:
                    if p["participantId"] == self.id:
                        self.word.set_result(p["mos"])

    async def leave_room(self):
        """Stops following, and leaves; the socket is the test's again."""
        self.reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.reader
        await self.request("room.leave", roomId="r")


def test_a_stay_is_kept_as_sori_sfu_saw_it():
    async def test(server, sfu):
        alice, bob = Judged(server.ws, "alice"), Judged(server.ws, "bob")
        try:
            for m in (alice, bob):
                await m.join()
            for m in (alice, bob):
                await within(m.heard.wait(), f"{m.user} hears")
            mos = await within(alice.word, "the SFU's word about alice")
            assert 3.5 < mos <= 4.5
            await alice.leave_room()
            stay = await until_kept(alice, lambda c: "ended" in c)
            assert stay["role"] == "member" and stay["path"] == "sfu" and stay["endedBy"] == "member"
            q = stay["quality"]
            assert (q["leg"], q["path"], q["samples"]) == ("sfu", "sfu", 1)
            assert abs(q["mosAvg"] - mos) < 0.01 and q["mosMin"] == q["mosAvg"]
        finally:
            for m in (alice, bob):
                await m.leave()
    run(test, LEDGER)

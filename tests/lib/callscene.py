"""Calls in tests over sockets: what clients send, and what they are expected to hear.
SPDX-License-Identifier: BSD-3-Clause"""
import asyncio
import uuid

OFFER = {"type": "offer", "sdp": "v=0\r\noffer\r\n"}
ANSWER = {"type": "answer", "sdp": "v=0\r\nanswer\r\n"}


def invite(call, video=False, **more):
    return {"offer": OFFER, "metadata": {"timestamp": 1, "callId": call, "isVideo": video}, **more}


async def dial(caller, to, **more):
    """Sends an invite and gives its call id and the reply."""
    call = str(uuid.uuid4())
    return call, await caller.request("call.invite", call, invite(call, **more), to=to)


async def rings(*callees, call=None):
    """Each hears call.incoming, and says that it rings."""
    for c in callees:
        m = await c.until("call.incoming")
        assert call in (None, m["callId"]), m
        assert m["data"]["offer"] == OFFER, m
        reply = await c.request("call.ringing", m["callId"])
        assert reply["type"] == "call.ringing", reply


async def answer(callee, call):
    m = await callee.request("call.answer", call, {"answer": ANSWER})
    assert m["type"] == "call.answer", m
    return m


async def connect(caller, callee, call):
    """Both report connected, and both hear that the call is active."""
    for c in (caller, callee):
        await c.send("call.state", call, {"connectionState": "connected"})
    for c in (caller, callee):
        while True:
            m = await c.until("call.state")
            if m.get("data", {}).get("state") == "active":
                break


async def ended(client, call, reason, **fields):
    m = await client.until("call.ended")
    assert m["callId"] == call and m["data"]["reason"] == reason, m
    for name, value in fields.items():
        assert m["data"].get(name) == value, m
    return m


async def silent(client, seconds=0.3):
    """Hears nothing that has a number."""
    try:
        while True:
            m = await client.next(seconds)
            assert "seq" not in m, m
    except asyncio.TimeoutError:
        pass


def candidates(n):
    return {"candidates": [{"candidate": f"candidate:{n} 1 udp 1 192.0.2.1 {n} typ host", "sdpMid": "0",
                            "sdpMLineIndex": 0}]}


def number_of(message):
    return int(message["data"]["candidates"][0]["candidate"].split()[0].split(":")[1])

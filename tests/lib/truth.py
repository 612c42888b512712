"""Clients under load that record what really happened to them: the verdict of every fault test.

    async with Crowd([server.wss], people=40, calls=10) as crowd:
        await crowd.settle()
        ...a fault...
        await crowd.settle()
    v = crowd.verdict()          # messages_lost, messages_doubled, calls_dropped, resume_p99_s, ...

Each person keeps one session as docs/SIGNALING.md asks: numbers, acknowledgements, resume with what was
not acknowledged, reconnects with back-off and jitter. Half of the standing calls' talk is numbered
`call.info`; every one sent, and every one heard, is noted with its time. Nothing is taken from the server's
counters. SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import json
import random
import time
import uuid
from collections import deque

import signal_wire
from soriclient import token

RETRY_FIRST_S, RETRY_MAX_S = 0.25, 15
HELLO_S = 10
TALK_EVERY_S = 0.25
REQUEST_S = 15
TRY_AGAIN = {"store.unavailable", "rate_limited"}
OFFER = {"type": "offer", "sdp": "v=0\r\ns=offer\r\n"}
ANSWER = {"type": "answer", "sdp": "v=0\r\ns=answer\r\n"}


def percentile(values, p):
    """Of a list that is not empty."""
    v = sorted(values)
    return v[min(len(v) - 1, int(len(v) * p))]


class Lost(Exception):
    """The session that a request belonged to is gone, or nobody answered in time."""


class Refused(Exception):
    def __init__(self, code, retry_after_s=0.0):
        super().__init__(code)
        self.code, self.retry_after_s = code, retry_after_s


class Call:
    """What both parties know of a call; times on the monotonic clock."""

    def __init__(self, call_id, caller, callee, began):
        self.id, self.caller, self.callee, self.began = call_id, caller, callee, began
        self.incoming = self.accepted = self.hung_up = None
        self.connected = set()   # who has said so
        self.active = set()      # who was told that the call is
        self.ended = {}          # who -> (time, reason)
        self.over = asyncio.Event()
        self.up = asyncio.Event()

    @property
    def established(self):
        return len(self.active) == 2

    @property
    def dropped(self):
        """Was established, and ended without anybody's wish."""
        return self.established and bool(self.ended) and (
            self.hung_up is None or min(t for t, _ in self.ended.values()) < self.hung_up)


class Person:
    """One device with one session that comes back."""

    def __init__(self, crowd, name, urls, device="dev-1"):
        self.crowd, self.name, self.device, self.urls = crowd, name, device, list(urls)
        self.at = 0
        self.wire = self.session = None
        self.seq = self.last = self.acked = self.ids = 0
        self.unacked = deque()     # (seq, text)
        self.waiting = {}          # request id -> future
        self.online = asyncio.Event()
        self.task = None
        self.lost_at = None
        self.outages = []          # (lost at, back at or None, resumed, close code)
        self.answers = True        # answers calls at once
        self.heard_at = 0.0
        self.ping_s, self.pong_s = 25, 10
        self.gaps = self.repeats = self.connects = 0
        self.presence = {}         # user -> (state, time)
        self.events = deque(maxlen=200)
        self.goaway = None
        self.leaving = False
        self.local = None
        self.frozen = False        # reads nothing: a slow consumer

    # --- the socket

    async def live(self):
        """Connects for ever."""
        attempt = 0
        while True:
            if attempt or self.goaway is not None:
                most = min(RETRY_MAX_S, RETRY_FIRST_S * 2 ** max(0, attempt - 1))
                delay = self.crowd.random.uniform(0, most)
                if self.goaway is not None:
                    delay, self.goaway = self.goaway, None
                await asyncio.sleep(delay)
            attempt += 1
            gone = asyncio.get_running_loop().create_future()
            try:
                await self._hello(gone)
            except (ConnectionError, asyncio.TimeoutError):
                if self.wire:
                    self.wire.abort()
                self.at = (self.at + 1) % len(self.urls)
                continue
            since = time.monotonic()
            watch = asyncio.ensure_future(self._watch())
            code = await gone
            watch.cancel()
            self._lost(code)
            if code in (4409, 4401):
                return
            if code == 4400:  # SIGNALING.md: the session is not to be gone on with
                self.session = None
            if code == 1012 and self.goaway is None:
                self.at = (self.at + 1) % len(self.urls)
            if time.monotonic() - since > 5:
                attempt = 0

    async def _hello(self, gone):
        welcome = asyncio.get_running_loop().create_future()

        def told(m):
            self.heard_at = time.monotonic()
            if m["type"] == "welcome" and not welcome.done():
                self._welcome(m["data"])
                welcome.set_result(None)
            else:
                self._take(m)

        def ended(code):
            if not welcome.done():
                welcome.set_exception(ConnectionError(f"closed with {code} before welcome"))
                welcome.exception()
            if not gone.done():
                gone.set_result(code)

        self.connects += 1
        self.wire = await signal_wire.connect(self.urls[self.at], told, ended, HELLO_S, self.local)
        data = {"token": token(self.name), "deviceId": self.device, "capabilities": ["video"]}
        if self.session:
            data["resume"] = dict(self.session, lastSeq=self.last,
                                  nextSeq=self.unacked[0][0] if self.unacked else self.seq + 1)
        self.wire.send(json.dumps({"type": "hello", "id": "h", "data": data}))
        await asyncio.wait_for(welcome, HELLO_S)

    def _welcome(self, d):
        now = time.monotonic()
        if not d["resumed"]:
            self.seq = self.last = self.acked = 0
            self.unacked.clear()
            for f in self.waiting.values():
                if not f.done():
                    f.set_exception(Lost("a new session"))
                    f.exception()
            self.waiting.clear()
        self.session = {"sessionId": d["sessionId"], "resumeToken": d["resumeToken"]}
        self.ping_s, self.pong_s = d["pingIntervalMs"] / 1000, d["pingTimeoutMs"] / 1000
        if self.lost_at is not None:
            self.outages[-1] = (self.outages[-1][0], now, d["resumed"], self.outages[-1][3])
            self.lost_at = None
        here = {v["callId"] for v in d["activeCalls"] if v["state"] != "ended"}
        for call in self.crowd.calls_of(self):
            if call.id not in here and self.name in call.connected:
                self.crowd.looks.append(asyncio.ensure_future(self._look_for(call)))
        while self.unacked and self.unacked[0][0] <= d["lastSeq"]:
            self.unacked.popleft()
        for _, text in self.unacked:
            self.wire.send(text)
        self.online.set()
        self.crowd.news()

    async def _look_for(self, call):
        """Is a call that the welcome does not name over, or run elsewhere (SIGNALING.md)?"""
        until = time.monotonic() + REQUEST_S
        while self.name not in call.ended:
            try:
                if (await self.ask("call.sync", call.id))["state"] != "ended":
                    return
                why = "ended, says call.sync"
            except Refused as no:
                if no.code in TRY_AGAIN and time.monotonic() < until:
                    await asyncio.sleep(0.2)
                    continue
                why = f"call.sync: {no.code}"
            except Lost:
                return  # the socket went again: the next welcome tells
            self._ended(call, time.monotonic(), why)

    def _lost(self, code):
        self.online.clear()
        self.lost_at = time.monotonic()
        self.outages.append((self.lost_at, None, False, code))
        self.crowd.news()

    async def _watch(self):
        """Takes a silent socket for dead."""
        self.heard_at = time.monotonic()
        while True:
            await asyncio.sleep(1)
            silent = time.monotonic() - self.heard_at
            if silent > self.ping_s + self.pong_s:
                self.wire.abort()
                return
            if silent > self.ping_s:
                self.write({"type": "ping"})

    # --- messages

    def write(self, m):
        """What has no number."""
        if self.online.is_set():
            self.wire.send(json.dumps(m))

    def send(self, kind, call=None, data=None, to=None, reply=True):
        """What has one; kept until it was acknowledged. Gives its id, or None."""
        self.seq += 1
        m = {"type": kind, "seq": self.seq, "ack": self.last}
        if reply:
            self.ids += 1
            m["id"] = f"{self.device}-{self.connects}-{self.ids}"
        if call:
            m["callId"] = call
        if to:
            m["to"] = to
        if data is not None:
            m["data"] = data
        text = json.dumps(m)
        self.acked = self.last
        self.unacked.append((self.seq, text))
        if self.online.is_set():
            self.wire.send(text)
        return m.get("id")

    async def ask(self, kind, call=None, data=None, to=None, timeout_s=REQUEST_S):
        """A request's answer; Refused by the server, Lost when there is none."""
        await self.online.wait()
        if kind.startswith("presence."):
            self.ids += 1
            ident = f"p{self.ids}"
            self.write({"type": kind, "id": ident, "data": data})
        else:
            ident = self.send(kind, call, data, to)
        f = self.waiting[ident] = asyncio.get_running_loop().create_future()
        try:
            m = await asyncio.wait_for(f, timeout_s)
        except asyncio.TimeoutError:
            raise Lost(f"no answer to {kind} in {timeout_s} s") from None
        finally:
            self.waiting.pop(ident, None)
        if m["type"] == "error":
            raise Refused(m["data"]["code"], m["data"].get("retryAfterMs", 0) / 1000)
        return m["data"]

    def _take(self, m):
        while self.unacked and self.unacked[0][0] <= m.get("ack", 0):
            self.unacked.popleft()
        if "seq" in m:
            if m["seq"] <= self.last:
                self.repeats += 1
                return
            if m["seq"] != self.last + 1:
                self.gaps += 1
            self.last = m["seq"]
            if self.last - self.acked >= 8:
                self.acked = self.last
                self.write({"type": "ack", "ack": self.last})
        f = self.waiting.get(m.get("re"))
        if f and not f.done():
            f.set_result(m)
            return
        handle = getattr(self, "_on_" + m["type"].replace(".", "_"), None)
        if handle:
            handle(m, time.monotonic())
        else:
            self.events.append(m)

    def _on_server_goaway(self, m, now):
        self.goaway = m["data"]["reconnectDelayMs"] / 1000

    def _on_presence(self, m, now):
        for u in m["data"]["users"]:
            self.presence[u["user"]] = (u["state"], now)
            self.crowd.news()

    # --- calls

    def _on_call_incoming(self, m, now):
        call = self.crowd.calls.get(m["callId"])
        if not call:
            return
        if call.incoming is None:
            call.incoming = now
        if self.answers:
            self.send("call.ringing", call.id)
            self.send("call.answer", call.id, {"answer": ANSWER})
            self._say_connected(call)

    def _on_call_accepted(self, m, now):
        call = self.crowd.calls.get(m["callId"])
        if call:
            call.accepted = call.accepted or now
            self._say_connected(call)

    def _say_connected(self, call):
        call.connected.add(self.name)
        self.send("call.state", call.id, {"connectionState": "connected"}, reply=False)

    def _on_call_state(self, m, now):
        call = self.crowd.calls.get(m["callId"])
        self.crowd.states.append((now, self.name, m["callId"], m["data"]["state"]))
        if call and m["data"]["state"] == "active":
            call.active.add(self.name)
            if call.established:
                call.up.set()
        self.crowd.news()

    def _on_call_info(self, m, now):
        self.crowd.heard.setdefault((m["callId"], self.name, m["data"]["custom"]["n"]), []).append(now)

    def _on_call_ended(self, m, now):
        call = self.crowd.calls.get(m["callId"])
        if call:
            self._ended(call, now, m["data"]["reason"])

    def _ended(self, call, now, reason):
        call.ended.setdefault(self.name, (now, reason))
        call.over.set()
        call.up.set()
        self.crowd.news()

    async def call(self, other, timeout_s=REQUEST_S):
        """Places a call; gives it when both were told that it is active."""
        call = Call(str(uuid.uuid4()), self, other, time.monotonic())
        self.crowd.calls[call.id] = call
        await self.ask("call.invite", call.id, {"offer": OFFER, "metadata": {"isVideo": False}}, to=other.name,
                       timeout_s=timeout_s)
        try:
            await asyncio.wait_for(call.up.wait(), timeout_s)
        except asyncio.TimeoutError:
            raise Lost("the call did not become active") from None
        if not call.established:
            raise Lost(f"the call ended: {list(call.ended.values())}")
        return call

    async def hang_up(self, call):
        call.hung_up = time.monotonic()
        await self.ask("call.hangup", call.id, {})

    def talk(self, call):
        """One numbered message to the other party."""
        other = call.callee if self is call.caller else call.caller
        n = self.crowd.number = self.crowd.number + 1
        self.crowd.said[(call.id, other.name, n)] = time.monotonic()
        self.send("call.info", call.id, {"custom": {"n": n}}, reply=False)


class Crowd:
    """People on these servers, some of them in calls that stand, others placing short ones.

    setups_per_s: how often somebody of the rest calls somebody else, for a moment."""

    def __init__(self, urls, people=20, calls=5, seed=1, setups_per_s=0.0, prefix="p", talk_every_s=TALK_EVERY_S):
        assert people >= 2 * calls + (2 if setups_per_s else 0)
        self.random = random.Random(seed)
        self.urls, self.setups_per_s, self.talk_every_s = urls, setups_per_s, talk_every_s
        self.calls, self.heard, self.said, self.states = {}, {}, {}, []
        self.number = 0
        self.setups = []            # (began, seconds or None, tries, why)
        self.late_ms = 0.0
        self.changed = asyncio.Condition()
        self.waking = False
        self.people = [Person(self, f"{prefix}{i}", urls[i % len(urls):] + urls[:i % len(urls)])
                       for i in range(people)]
        self.standing_n = calls
        self.standing, self.tasks = [], []
        self.looks = []             # questions for calls that a welcome did not name
        self.by_person = {}

    def calls_of(self, person):
        """Those that it takes for living."""
        return [c for c in self.calls.values() if person in (c.caller, c.callee) and person.name not in c.ended]

    def news(self):
        """Wakes who waits in until()."""
        async def wake():
            async with self.changed:
                self.waking = False
                self.changed.notify_all()
        if not self.waking:  # one for all that comes in a turn of the loop
            self.waking = True
            asyncio.ensure_future(wake())

    async def until(self, true, timeout_s, what):
        """Waits until true() is; looked at with each piece of news."""
        async def wait():
            async with self.changed:
                await self.changed.wait_for(true)
        try:
            await asyncio.wait_for(wait(), timeout_s)
        except asyncio.TimeoutError:
            raise AssertionError(f"not in {timeout_s} s: {what}") from None

    async def __aenter__(self):
        for p in self.people:
            p.task = asyncio.ensure_future(p.live())
        await asyncio.wait_for(asyncio.gather(*(p.online.wait() for p in self.people)), 60)
        pairs = [(self.people[2 * i], self.people[2 * i + 1]) for i in range(self.standing_n)]
        self.standing = list(await asyncio.gather(*(a.call(b) for a, b in pairs)))
        self.tasks = [asyncio.ensure_future(self._talk()), asyncio.ensure_future(self._late())]
        if self.setups_per_s:
            self.tasks.append(asyncio.ensure_future(self._set_up()))
        return self

    async def __aexit__(self, *_):
        left = {*self.tasks, *self.looks, *(p.task for p in self.people)}
        while left:  # wait_for() of Python 3.11 loses a cancellation that comes with the result
            for t in left:
                t.cancel()
            for p in self.people:
                if p.wire:
                    p.wire.abort()
            _, left = await asyncio.wait(left, timeout=0.2)

    async def _talk(self):
        while True:
            for call in self.standing:
                if not call.over.is_set() and call.hung_up is None:
                    call.caller.talk(call)
                    call.callee.talk(call)
            await asyncio.sleep(self.talk_every_s)

    async def _late(self):
        """How late this loop is: figures of a loop that was late are not the server's."""
        while True:
            due = time.monotonic() + 0.02
            await asyncio.sleep(0.02)
            self.late_ms = max(self.late_ms, (time.monotonic() - due) * 1000)

    async def _set_up(self):
        rest = self.people[2 * self.standing_n:]
        busy, running = set(), set()
        due = time.monotonic()
        while True:
            due += 1 / self.setups_per_s
            await asyncio.sleep(max(0, due - time.monotonic()))
            free = [p for p in rest if p not in busy]
            if len(free) < 2:
                continue
            a, b = self.random.sample(free, 2)
            busy |= {a, b}
            t = asyncio.ensure_future(self.set_up(a, b))
            running.add(t)
            t.add_done_callback(lambda t, pair=(a, b): (running.discard(t), busy.difference_update(pair)))

    async def set_up(self, a, b, tries=2):
        """A short call, with one retry; noted in setups."""
        began, why = time.monotonic(), ""
        for i in range(tries):
            try:
                call = await a.call(b)
                self.setups.append((began, time.monotonic() - began, i + 1, ""))
                await a.hang_up(call)
                return
            except (Lost, Refused) as e:
                why = str(e)
                await asyncio.sleep(getattr(e, "retry_after_s", 0) or 0.5)  # when it was told to
        self.setups.append((began, None, tries, why))

    async def quiet(self, timeout_s=20):
        """Stops the talk and waits until all is heard that can be; everybody must be online."""
        await asyncio.gather(*self.looks)
        self.tasks[0].cancel()
        deadline = time.monotonic() + timeout_s
        while self._missing() and time.monotonic() < deadline:
            await asyncio.sleep(0.05)

    def _missing(self):
        alive = {c.id for c in self.calls.values() if not c.over.is_set()}
        return [k for k in self.said if k[0] in alive and k not in self.heard]

    async def cut_off(self, timeout_s=10):
        """Waits until nobody has a socket."""
        await self.until(lambda: not any(p.online.is_set() for p in self.people), timeout_s, "everybody is cut off")

    async def back(self, timeout_s, people=None):
        """Waits until everybody has a session; gives the seconds that it took."""
        start = time.monotonic()
        await asyncio.wait_for(asyncio.gather(*(p.online.wait() for p in people or self.people)), timeout_s)
        return time.monotonic() - start

    def verdict(self):
        """Figures; n of each beside it. None where nothing of the kind happened."""
        outages = [o for p in self.people for o in p.outages]
        back = [o[1] - o[0] for o in outages if o[1] is not None]
        set_up = [s for s in self.setups if s[1] is not None]
        return {
            "people": len(self.people), "said": len(self.said),
            "messages_lost": len(self._missing()),
            "messages_doubled": sum(len(times) - 1 for times in self.heard.values()),
            "gaps": sum(p.gaps for p in self.people),
            "standing": len(self.standing),
            "calls_dropped": sum(c.dropped for c in self.calls.values()),
            "outages": len(outages), "away": sum(o[1] is None for o in outages),
            "resumed": sum(o[2] for o in outages),
            "resume_p50_s": percentile(back, 0.5) if back else None,
            "resume_p99_s": percentile(back, 0.99) if back else None,
            "resume_max_s": max(back) if back else None,
            "setups": len(self.setups), "setups_failed": len(self.setups) - len(set_up),
            "setup_p99_s": percentile([s[1] for s in set_up], 0.99) if set_up else None,
            "setup_max_s": max((s[1] for s in set_up), default=None),
            "late_ms": round(self.late_ms, 1),
        }

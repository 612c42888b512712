"""A stand-in for sori-sfu that speaks the control protocol (docs/CONTROL.md) and carries no media.

    sfu = FakeSfu(port)            # or FakeSfu(path="/tmp/x.sock")
    await sfu.start()
    await sfu.requested("join")    # the next request of that type that the server has made
    await sfu.event("node-1", "speakers", room="r", speakers=[])

Joins are answered at once, one track per wish, and "connected" follows. What a test wants otherwise
it sets: refuse[type] = (code, message), silent = {types that get no answer}, connects = False.
SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import hashlib
import hmac
import json
import os
import random
import struct

VIDEO = ("camera", "screen")


def mac(secret, label, sfu_nonce, server_nonce, server, node, server_epoch, sfu_epoch):
    fields = (label.encode(), sfu_nonce, server_nonce, server.encode(), node.encode())
    text = b"".join(struct.pack(">I", len(f)) + f for f in fields)
    return hmac.new(secret, text + struct.pack(">QQ", server_epoch, sfu_epoch), hashlib.sha256).hexdigest()


class Peer:
    """What the SFU keeps of one server, over its connections."""

    def __init__(self, epoch):
        self.epoch, self.seq, self.answers, self.events, self.writer = epoch, 0, {}, [], None
        self.rooms, self.synced = {}, set()


class FakeSfu:
    def __init__(self, port=None, path=None, secret=b"0123456789abcdef0123456789abcdef", node="sfu-a"):
        self.port, self.path, self.secret, self.node = port, path, secret, node
        self.epoch = random.getrandbits(63) | 1
        self.peers, self.server, self.log = {}, None, []
        self.refuse, self.silent, self.connects = {}, set(), True
        self.done, self.executed, self.acked = asyncio.Event(), 0, 0
        self.draining, self.load = False, 0

    # ---- life ----

    async def start(self):
        if self.path:
            self.server = await asyncio.start_unix_server(self._serve, self.path)
        else:
            self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def drop(self):
        """Breaks every connection; keeps what it knows."""
        for p in self.peers.values():
            if p.writer:
                p.writer.close()
                p.writer = None

    async def stop(self):
        self.server.close()
        await self.drop()

    async def restart(self):
        """As a new process would: another epoch, and nothing of before."""
        await self.stop()
        self.peers, self.epoch = {}, random.getrandbits(63) | 1
        await self.start()

    # ---- for tests ----

    async def requested(self, kind, timeout=5):
        """Takes the oldest request of a type off the log, waiting for it."""
        async def wait():
            while True:
                for i, m in enumerate(self.log):
                    if m["t"] == kind:
                        return self.log.pop(i)
                self.done.clear()
                await self.done.wait()
        return await asyncio.wait_for(wait(), timeout)

    def peer(self):
        (p,) = self.peers.values()
        return p

    async def event(self, kind, kept=True, peer=None, **fields):
        """To the one server that there is, or to the peer of several."""
        p = peer or self.peer()
        m = {"t": kind}
        if kept and kind not in ("speakers", "quality", "load"):
            p.seq += 1
            m["seq"] = p.seq
            p.events.append({**m, **fields})
        if p.writer:
            self._send(p.writer, {**m, **fields})

    # ---- protocol ----

    def _send(self, writer, m):
        text = json.dumps(m, separators=(",", ":")).encode()
        writer.write(struct.pack(">I", len(text)) + text)

    async def _read(self, reader):
        (n,) = struct.unpack(">I", await reader.readexactly(4))
        assert 0 < n <= 262144
        return json.loads(await reader.readexactly(n))

    async def _serve(self, reader, writer):
        peer = None
        try:
            peer = await self._open(reader, writer)
            while peer:
                m = await self._read(reader)
                if m["t"] == "ack":
                    self.acked = m["upto"]
                    peer.events = [e for e in peer.events if e["seq"] > m["upto"]]
                elif m["t"] == "ping":
                    if "id" in m:
                        self._send(writer, {"t": "ping", "re": m["id"]})
                elif "id" in m:
                    await self._request(peer, writer, m)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            if peer and peer.writer is writer:
                peer.writer = None

    async def _open(self, reader, writer):
        nonce = os.urandom(32)
        self._send(writer, {"t": "challenge", "version": 1, "nonce": nonce.hex()})
        h = await self._read(reader)
        assert h["t"] == "hello", h
        theirs = bytes.fromhex(h["nonce"])
        want = mac(self.secret, "sori-ctl 1 server", nonce, theirs, h["server"], "", h["epoch"], 0)
        if not hmac.compare_digest(want, h["mac"]):
            self._send(writer, {"t": "hello", "re": h["id"], "error": {"code": "unauthorized"}})
            return None
        peer = self.peers.get(h["server"])
        resumed = bool(peer and peer.epoch == h["epoch"])
        if not resumed:
            rooms = peer.rooms if peer else {}  # another process of the name: until sync_end, or another adopts them
            peer = self.peers[h["server"]] = Peer(h["epoch"])
            peer.rooms = rooms
        peer.writer, peer.synced = writer, set()
        proof = mac(self.secret, "sori-ctl 1 sfu", nonce, theirs, h["server"], self.node, h["epoch"], self.epoch)
        self._send(writer, {"t": "hello", "re": h["id"], "node": self.node, "epoch": self.epoch, "resumed": resumed,
                            "lost": False, "draining": self.draining, "workers": 1, "participantsMax": 100,
                            "load": self.load, "mac": proof})
        if resumed:
            for e in peer.events:
                if e["seq"] > h["lastSeq"]:
                    self._send(writer, e)
        return peer

    async def _request(self, peer, writer, m):
        kind, known = m["t"], peer.answers.get(m["id"])
        if known is None:
            self.executed += 1
            if kind in self.refuse:
                code, text = self.refuse[kind]
                known = {"error": {"code": code, "message": text}}
            else:
                known = getattr(self, "_do_" + kind, lambda p, r: {})(peer, m)
            peer.answers[m["id"]] = known
        self.log.append(m)
        self.done.set()
        if kind in self.silent:
            return
        self._send(writer, {"t": kind, "re": m["id"], **known})
        if kind == "join" and self.connects and "error" not in known:
            await self.event("state", peer=peer, room=m["room"], participant=m["participant"], state="connected")

    def _tracks(self, m):
        return [{"track": f'{m["participant"]}:{w["mid"]}', "mid": w["mid"],
                 "kind": "video" if w["source"] in VIDEO else "audio", "source": w["source"],
                 "muted": w.get("muted", False), "layers": 3 if w["source"] == "camera" else 1}
                for w in m.get("tracks", [])]

    def _do_join(self, peer, m):
        seat = {"tracks": self._tracks(m), "slots": [{"mid": "a"}, {"mid": "v"}]}
        peer.rooms.setdefault(m["room"], {})[m["participant"]] = seat
        peer.synced.add(m["room"])
        return {"answer": "v=0\r\ns=answer to " + m["offer"][:20] + "\r\n", **seat}

    def _do_offer(self, peer, m):
        seat = peer.rooms.get(m["room"], {}).get(m["participant"])
        if seat is None:
            return {"error": {"code": "no_participant", "message": "who?"}}
        seat["tracks"] = self._tracks(m)
        return {"answer": "v=0\r\ns=again\r\n", **seat}

    def _do_subscribe(self, peer, m):
        seat = peer.rooms[m["room"]][m["participant"]]
        for w in m["tracks"]:
            for s in seat["slots"]:
                if w["wanted"] and s["mid"] == w.get("mid", "v"):
                    s.update(track=w["track"], participant=w["track"].split(":")[0])
        return {"slots": seat["slots"]}

    def _do_leave(self, peer, m):
        peer.rooms.get(m["room"], {}).pop(m["participant"], None)
        return {}

    def _do_close_room(self, peer, m):
        peer.rooms.pop(m["room"], None)
        return {}

    def _do_adopt(self, peer, m):
        was = self.peers.get(m["from"])
        if was is None or m["room"] not in was.rooms:
            return {"error": {"code": "no_room", "message": "what room?"}}
        peer.rooms[m["room"]] = was.rooms.pop(m["room"])
        peer.synced.add(m["room"])
        return {}

    def _do_sync(self, peer, m):
        peer.synced.add(m["room"])
        have = peer.rooms.setdefault(m["room"], {})
        for gone in set(have) - set(m["participants"]):
            del have[gone]
        return {"participants": [{"id": p, "state": "connected"} for p in have]}

    def _do_sync_end(self, peer, m):
        gone = [r for r in peer.rooms if r not in peer.synced]
        for r in gone:
            del peer.rooms[r]
        return {"closed": len(gone)}

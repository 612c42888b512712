"""What the SFU benches share: a wire with black-hole receivers, the load engine, and one adapter per
server. Runs inside `unshare -rn`; the servers are in our namespace, the clients in another one.
SPDX-License-Identifier: BSD-3-Clause"""
import asyncio
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
os.environ.setdefault("SORI_BUILD", os.environ.get("BUILD", "build/gcc"))
sys.path.insert(1, os.path.join(ROOT, "tests", "lib"))
from impairnet import BUILD, ip, new_namespace, stop, sysctl  # noqa: E402
from sfuscene import (ANSWER_S, AUDIO, CORES, LEVEL_ID, LOAD_CORE, MID_ID, SERVER_CORE, SERVER_IP, VIDEO,  # noqa: E402,F401
                      VOICE_BYTES, Engine, Process, Sori, description, parse_description, taskset)

CLIENT_IP = "10.77.0.2"
WITNESS_IP = "10.77.0.3"  # clients with this address hear what they are sent, black hole or not
IP_UDP_BYTES = 28


class Wire:
    """A veth pair into the clients' namespace. black_hole(True): RTP that arrives there is counted and
    dropped before any socket, so that no receiver's work is billed to the server that sends."""

    RULES = """
table netdev rig {
    counter media { }
    chain in {
        type filter hook ingress device "gen0" priority 0;
        ip daddr 10.77.0.3 accept
        meta l4proto udp @th,64,8 >= 128 @th,64,8 <= 191 @th,72,8 < 192 %s
        meta l4proto udp @th,64,8 >= 128 @th,64,8 <= 191 @th,72,8 > 223 %s
    }
}
"""

    def __init__(self):
        self.holder = new_namespace()
        pid = self.holder.pid
        ip("link", "add", "srv0", "type", "veth", "peer", "name", "gen0")
        ip("link", "set", "gen0", "netns", pid)
        for dev, address, where in (("srv0", SERVER_IP, None), ("gen0", CLIENT_IP, pid)):
            sysctl(f"ipv6/conf/{dev}/disable_ipv6", 1, where)
            ip("addr", "add", address + "/16", "dev", dev, pid=where)
            ip("link", "set", dev, "txqueuelen", 10000, "up", pid=where)
        ip("addr", "add", WITNESS_IP + "/16", "dev", "gen0", pid=pid)
        self.holed = None
        self.black_hole(False)

    def server_mac(self):
        out = subprocess.run(["ip", "-j", "link", "show", "srv0"], check=True, stdout=subprocess.PIPE).stdout
        return json.loads(out)[0]["address"]

    def inside(self, argv):
        return ["nsenter", "-n", "-t", str(self.holder.pid), *map(str, argv)]

    def black_hole(self, on):
        if on == self.holed:
            return
        verdict = "counter name media drop" if on else "counter name media"
        text = ("table netdev rig\ndelete table netdev rig\n" if self.holed is not None else "")
        subprocess.run(self.inside(["nft", "-f", "-"]), input=(text + self.RULES % (verdict, verdict)).encode(),
                       check=True)
        self.holed = on

    def counted(self):
        """(packets or merged runs, bytes with IP and UDP headers, when) of RTP so far."""
        out = subprocess.run(self.inside(["nft", "-j", "list", "counter", "netdev", "rig", "media"]),
                             check=True, stdout=subprocess.PIPE).stdout
        c = next(x["counter"] for x in json.loads(out)["nftables"] if "counter" in x)
        return c["packets"], c["bytes"], time.monotonic()

    def rates(self, before, size):
        """Since `before` (of counted()), a second: datagrams of `size` bytes, and the runs that they came in."""
        skbs, octets, now = self.counted()
        skbs -= before[0]
        return (octets - before[1] - IP_UDP_BYTES * skbs) / size / (now - before[2]), skbs / (now - before[2])

    def close(self):
        # Both ends go now; with its namespace the other one would go when the kernel gets to it.
        subprocess.run(["ip", "link", "del", "srv0"], stderr=subprocess.DEVNULL, check=False)
        stop(self.holder)


# --- Janus

JANUS_FILES = os.path.join(ROOT, "bench", "peers", "janus")
JANUS_WS = "ws://127.0.0.1:8188"


def openssl_srtp():
    """The folder with Debian's libsrtp2 built with OpenSSL, made when it is not there; None when it
    cannot be made."""
    folder = os.environ.get("BENCH_SRTP", os.path.join(tempfile.gettempdir(), f"sori-bench-{os.getuid()}", "libsrtp2"))
    if not os.path.exists(os.path.join(folder, "libsrtp2.so.1")):
        if subprocess.run([os.path.join(JANUS_FILES, "build_srtp.sh"), folder], check=False,
                          stdout=subprocess.DEVNULL).returncode:
            return None
    return folder


class Janus:
    """Debian's Janus, videoroom. tuned: libsrtp2 on OpenSSL, one event loop for its one core."""

    def __init__(self, wire, engine, tuned, core=SERVER_CORE):
        self.engine, self.wire = engine, wire
        self.folder = tempfile.mkdtemp(prefix="bench-janus-")
        for path in glob.glob("/etc/janus/*.jcfg"):  # as packaged
            shutil.copy(path, self.folder)
        argv = ["janus", "-F", self.folder, "-d", "3"]
        env = {}
        if tuned:
            path = os.path.join(self.folder, "janus.jcfg")
            with open(path, encoding="utf-8") as f:
                text = f.read()
            with open(path, "w", encoding="utf-8") as f:  # as many event loops as it has cores
                f.write(re.sub(r"^general: \{", "general: {\n\tevent_loops = 1", text, count=1, flags=re.M))
            folder = openssl_srtp()
            if not folder:
                raise RuntimeError("no libsrtp2 with OpenSSL")
            env["LD_LIBRARY_PATH"] = folder
        self.name = "janus tuned" if tuned else "janus"
        self.server = Process(argv, env, core, os.path.join(self.folder, "out"))
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.tx, self.pending = 0, {}
        self._call(self._connect())
        self.session = self._request({"janus": "create"})["data"]["id"]

    def _call(self, coroutine, timeout_s=ANSWER_S):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout_s)

    async def _connect(self):
        import websockets
        deadline = time.monotonic() + ANSWER_S
        while True:
            try:
                self.ws = await websockets.connect(JANUS_WS, subprotocols=["janus-protocol"], max_queue=None)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.05)
        self.reader = asyncio.ensure_future(self._read())
        self.alive = asyncio.ensure_future(self._keep_alive())

    async def _read(self):
        async for text in self.ws:
            got = json.loads(text)
            waiting = self.pending.get(got.get("transaction"))
            if waiting and not waiting.done() and got["janus"] != "ack":
                waiting.set_result(got)

    async def _keep_alive(self):
        while True:
            await asyncio.sleep(20)
            await self.ws.send(json.dumps({"janus": "keepalive", "session_id": self.session, "transaction": "alive"}))

    async def _ask(self, message):
        self.tx += 1
        name = f"t{self.tx}"
        self.pending[name] = self.loop.create_future()
        if "session" in self.__dict__:
            message = dict(message, session_id=self.session)
        await self.ws.send(json.dumps(dict(message, transaction=name)))
        got = await asyncio.wait_for(self.pending[name], ANSWER_S)
        del self.pending[name]
        if got["janus"] == "error" or "error" in got.get("plugindata", {}).get("data", {}):
            raise RuntimeError(f"janus: {got}")
        return got

    def _request(self, message):
        return self._call(self._ask(message))

    def _message(self, handle, body, jsep=None):
        return self._request({"janus": "message", "handle_id": handle, "body": body,
                              **({"jsep": jsep} if jsep else {})})

    def _attach(self):
        return self._request({"janus": "attach", "plugin": "janus.plugin.videoroom"})["data"]["id"]

    def room(self, name, publishers=1):
        """A new room; gives what join takes."""
        self._message(self._attach(), {
            "request": "create", "room": name, "publishers": publishers, "bitrate": 0, "audiocodec": "opus",
            "videocodec": "vp8", "notify_joining": False})
        return name

    def publish(self, room, n, media, ssrc):
        """Client n of the engine sends this media there. Gives the feed."""
        e = self.engine("add", n)
        handle = self._attach()
        sdp = description(e["ufrag"], e["pwd"], self.engine.fingerprint, "actpass",
                          [(m, i, "sendonly", ssrc + i) for i, m in enumerate(media)])
        got = self._message(handle, {"request": "joinandconfigure", "ptype": "publisher", "room": room},
                            {"type": "offer", "sdp": sdp})
        self.engine("go", n, *parse_description(got["jsep"]["sdp"]))
        return got["plugindata"]["data"]["id"]

    def receive(self, room, n, feed, media, setup="passive"):
        """Client n of the engine receives it. setup passive: Janus begins the DTLS handshake, which
        spares the second that it loses as DTLS server (the first ClientHello is dropped)."""
        e = self.engine("add", n)
        handle = self._attach()
        got = self._message(handle, {"request": "join", "ptype": "subscriber", "room": room,
                                     "streams": [{"feed": feed}]})
        sdp = description(e["ufrag"], e["pwd"], self.engine.fingerprint, setup,
                          [(m, i, "recvonly", None) for i, m in enumerate(media)])
        at, port, ufrag, pwd, _ = parse_description(got["jsep"]["sdp"])
        self._message(handle, {"request": "start", "room": room}, {"type": "answer", "sdp": sdp})
        self.engine("go", n, at, port, ufrag, pwd, "client" if setup == "active" else "server")

    async def _disconnect(self):
        self.alive.cancel()
        await self.ws.close()
        await self.reader

    def close(self):
        try:
            self._call(self._disconnect(), 5)
        except Exception:  # it may have died: what was measured says so
            pass
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.server.close()
        shutil.rmtree(self.folder, ignore_errors=True)

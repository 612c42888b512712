"""What the SFU benches share: a wire with black-hole receivers, the load engine, and one adapter per
server. Runs inside `unshare -rn`; the servers are in our namespace, the clients in another one.
SPDX-License-Identifier: BSD-3-Clause"""
import asyncio
import glob
import json
import os
import queue
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(1, os.path.join(ROOT, "tests", "lib"))
from impairnet import die_with_parent, ip, new_namespace, stop, sysctl  # noqa: E402

BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build/gcc"))
CORES = sorted(os.sched_getaffinity(0))
LOAD_CORE, SERVER_CORE = CORES[0], CORES[-1]
SERVER_IP, CLIENT_IP = "10.77.0.1", "10.77.0.2"
WITNESS_IP = "10.77.0.3"  # clients with this address hear what they are sent, black hole or not
ANSWER_S, UP_S = 20, 30
IP_UDP_BYTES = 28


def taskset(core, argv):
    return ["taskset", "-c", str(core), *map(str, argv)]


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
        stop(self.holder)


class Engine:
    """bench/load/sfu_engine: the clients."""

    def __init__(self, wire, profiles=None, core=LOAD_CORE):
        argv = [os.path.join(BUILD, "bench/load/sfu_engine"), *([profiles] if profiles else [])]
        self.process = subprocess.Popen(wire.inside(taskset(core, argv)), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, preexec_fn=die_with_parent)
        self.answers, self.events = queue.Queue(), queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.fingerprint = self.events.get(timeout=ANSWER_S)["fingerprint"]
        self.state, self.gone = {}, {}  # of each client: its last event, the server's port

    def _read(self):
        for line in self.process.stdout:
            got = json.loads(line)
            (self.events if "event" in got else self.answers).put(got)
        self.answers.put({"re": "error", "why": "the engine ended"})

    def __call__(self, *words):
        self.process.stdin.write((" ".join(map(str, words)) + "\n").encode())
        self.process.stdin.flush()
        got = self.answers.get(timeout=ANSWER_S)
        if got["re"] == "error":
            raise RuntimeError(f"engine: {' '.join(map(str, words))}: {got['why']}")
        return got

    def wait_up(self, numbers, timeout_s=UP_S):
        """Waits until these clients have keys; gives their events."""
        deadline = time.monotonic() + timeout_s
        while not all(n in self.state for n in numbers):
            try:
                e = self.events.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise RuntimeError(f"clients {[n for n in numbers if n not in self.state][:5]} are not up")
            self.state[e["n"]] = e
            if e["event"] == "failed":
                raise RuntimeError(f"client {e['n']} failed")
        return [self.state[n] for n in numbers]

    def close(self):
        self.process.stdin.close()
        stop(self.process)


# --- descriptions: as little as servers need

AUDIO = dict(kind="audio", pt=111, lines=("a=rtpmap:111 opus/48000/2", "a=fmtp:111 minptime=10;useinbandfec=1"))
VIDEO = dict(kind="video", pt=96, lines=("a=rtpmap:96 VP8/90000", "a=rtcp-fb:96 nack", "a=rtcp-fb:96 nack pli",
                                         "a=rtcp-fb:96 ccm fir"))
MID_URI = "urn:ietf:params:rtp-hdrext:sdes:mid"
LEVEL_URI = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
MID_ID, LEVEL_ID = 4, 1


def description(ufrag, pwd, fingerprint, setup, sections):
    """sections: (media as above, mid, direction, SSRC or None)."""
    mids = " ".join(str(mid) for _, mid, _, _ in sections)
    out = ["v=0", "o=- 4711 2 IN IP4 127.0.0.1", "s=-", "t=0 0", f"a=group:BUNDLE {mids}",
           "a=msid-semantic: WMS *"]
    for media, mid, direction, ssrc in sections:
        out += [f"m={media['kind']} 9 UDP/TLS/RTP/SAVPF {media['pt']}", "c=IN IP4 0.0.0.0", "a=rtcp:9 IN IP4 0.0.0.0",
                f"a=ice-ufrag:{ufrag}", f"a=ice-pwd:{pwd}", f"a=fingerprint:sha-256 {fingerprint}",
                f"a=setup:{setup}", f"a=mid:{mid}", f"a=extmap:{MID_ID} {MID_URI}"]
        if media["kind"] == "audio":
            out.append(f"a=extmap:{LEVEL_ID} {LEVEL_URI}")
        out += [f"a={direction}", "a=rtcp-mux", *media["lines"]]
        if ssrc is not None:
            out += [f"a=msid:bench t{mid}", f"a=ssrc:{ssrc} cname:bench"]
    return "\r\n".join(out) + "\r\n"


def parse_description(sdp):
    """What a client needs of it: (ip, port, ufrag, pwd, our DTLS role)."""
    def first(pattern):
        return re.search(pattern, sdp, re.M).group(1)
    candidates = re.findall(r"^a=candidate:\S+ 1 (\S+) (\d+) (\d+\.\S+) (\d+) typ host(?: tcptype (\S+))?", sdp, re.M)
    best = max((c for c in candidates if c[0].lower() == "udp"), key=lambda c: int(c[1]))
    role = "client" if first(r"^a=setup:(\w+)") in ("passive", "actpass") else "server"
    return best[2], int(best[3]), first(r"^a=ice-ufrag:(\S+)"), first(r"^a=ice-pwd:(\S+)"), role


def quiet_child():
    """Ends with us, and leaves no core file (Janus likes to)."""
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Process:
    """A server's process: its CPU and memory."""

    def __init__(self, argv, env=None, core=SERVER_CORE, log=None):
        self.log = open(log, "wb") if log else subprocess.DEVNULL
        self.process = subprocess.Popen(taskset(core, argv) if core is not None else list(map(str, argv)),
                                        env=dict(os.environ, **(env or {})), stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=subprocess.STDOUT, preexec_fn=quiet_child)
        self.pid = self.process.pid

    def cpu_s(self):
        """Of all threads. Those that have ended are not in it: not for joins of servers that make
        threads; usage_s() is."""
        total = 0
        for path in glob.glob(f"/proc/{self.pid}/task/*/schedstat"):
            try:
                with open(path, encoding="ascii") as f:
                    total += int(f.read().split()[0])
            except (OSError, IndexError):
                pass
        return total / 1e9

    def usage_s(self):
        """User and system time with that of ended threads, to 10 ms."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as f:
            words = f.read().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self):
        with open(f"/proc/{self.pid}/smaps_rollup", encoding="ascii") as f:
            return int(re.search(r"^Rss:\s+(\d+)", f.read(), re.M).group(1)) * 1024

    def alive(self):
        return self.process.poll() is None

    def close(self):
        stop(self.process)
        if self.log != subprocess.DEVNULL:
            self.log.close()


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


# --- sori-sfu, by its control protocol: no signaling server in the figures

SORI_INI = """[sfu]
listen = {address}
port = 7882
threads = {threads}
{sfu}
[control]
listen = unix:{folder}/control
secret_file = {folder}/secret
[transport]
handshakes_per_s = 100000
stun_per_s = 1000000
{transport}
[limits]
participants_per_room = 10000
publish_bitrate = 1000000000
{limits}
[audio]
{audio}
[video]
{video}
[log]
level = warn
"""


class Sori:
    """Our own. All limits are in force; those that a bench would meet are raised. The sections of the
    configuration take more lines: sfu=, transport=, limits=, audio=, video=."""

    def __init__(self, wire, engine, name="sori-sfu", core=SERVER_CORE, threads=1, binary=None, env=None,
                 address=SERVER_IP, **lines):
        self.engine, self.wire, self.name = engine, wire, name
        self.folder = tempfile.mkdtemp(prefix="bench-sfu-")
        secret = os.urandom(32).hex().encode()
        text = SORI_INI.format(address=address, folder=self.folder, threads=threads,
                               **{k: lines.get(k, "") for k in ("sfu", "transport", "limits", "audio", "video")})
        for file_name, content in (("secret", secret), ("sfu.ini", text.encode())):
            with open(os.path.join(self.folder, file_name), "wb", opener=lambda p, f: os.open(p, f, 0o600)) as f:
                f.write(content)
        self.server = Process([binary or os.path.join(BUILD, "sori-sfu"), "--config",
                               os.path.join(self.folder, "sfu.ini")], env, core, os.path.join(self.folder, "out"))
        from ctlclient import Ctl
        try:
            self.ctl = Ctl(f"unix:{self.folder}/control", secret)
        except OSError:
            print(self.log())
            raise

    def log(self):
        with open(os.path.join(self.folder, "out"), encoding="utf-8", errors="replace") as f:
            return f.read()[-4000:]

    def room(self, name, publishers=1):
        return str(name)

    def join(self, room, n, sections, *, tcp=False, wait=True):
        """Client n of the engine joins with these sections (of description()). Gives the request, or
        with wait the reply, after `go`."""
        from ctlclient import ALL
        e = self.engine("add", n)
        sdp = description(e["ufrag"], e["pwd"], self.engine.fingerprint, "actpass", sections)
        source = {"audio": "microphone", "video": "camera"}
        tracks = [{"mid": str(mid), "source": source[m["kind"]], "muted": False}
                  for m, mid, direction, _ in sections if direction.startswith("send")]
        request = self.ctl.ask("join", room, f"p{n}", mode="single", perms=ALL, autoAudio=True, autoVideo=True,
                               offer=sdp, tracks=tracks)
        return self.went(request, n, tcp) if wait else request

    def went(self, request, n, tcp=False):
        reply = self.ctl.answer(request)
        where = parse_description(reply["answer"])
        self.engine.gone[n] = where[1]
        self.engine("go", n, *where, *(["tcp"] if tcp else []))
        return reply

    def publish(self, room, n, media, ssrc):
        self.join(room, n, [(m, i, "sendonly", ssrc + i) for i, m in enumerate(media)])
        return n

    def receive(self, room, n, feed, media):
        self.join(room, n, [(m, i, "recvonly", None) for i, m in enumerate(media)])

    def close(self):
        self.ctl.close()
        self.server.close()
        shutil.rmtree(self.folder, ignore_errors=True)

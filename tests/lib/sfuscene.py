"""Rooms on sori-sfu for tests and benches: a load engine, real clients, and the server, driven by its control
protocol, without sori-server.

    with Scene() as s:
        s.talker("room", 1)                                        # bench/load/sfu_engine
        ear = s.client("chromium", "room", "both delay 40ms loss 5%", slots=1)
        ear.heard()

Real clients (tests/clients/media_client.mjs: libwebrtc in Node, headless Chromium) sit behind the impairer
(impairnet.py); the engine runs on the servers' side. SPDX-License-Identifier: BSD-3-Clause"""
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

from ctlclient import ALL, Ctl
from impairnet import BUILD, ROOT, Net, die_with_parent, stop

CORES = sorted(os.sched_getaffinity(0))
LOAD_CORE, SERVER_CORE = CORES[0], CORES[-1]
SERVER_IP = Net.address
ANSWER_S, UP_S = 20, 30
VOICE_BYTES = 60  # 20 ms of Opus at 24 kbit/s
FILMS = os.path.join(ROOT, "build", "bench-films")
FPS = 25
LAYERS = (("l", 320, 180, 150), ("m", 640, 360, 450), ("h", 1280, 720, 1200))  # name, size, kbit/s


def taskset(core, argv):
    return ["taskset", "-c", str(core), *map(str, argv)]


def real_time():
    """Before exec, of who takes part in measuring delays: nothing else on the machine is part of them. As
    deploy/systemd has it for the server. Only root can."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        pass


class Engine:
    """bench/load/sfu_engine: the clients."""

    def __init__(self, wire, profiles=None, core=LOAD_CORE, urgent=False):
        def first():
            die_with_parent()
            real_time()
        argv = [os.path.join(BUILD, "bench/load/sfu_engine"), *([profiles] if profiles else [])]
        self.process = subprocess.Popen(wire.inside(argv if core is None else taskset(core, argv)),
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        preexec_fn=first if urgent else die_with_parent)
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


def urgent_child():
    quiet_child()
    real_time()


def quiet_child():
    """Ends with us, and leaves no core file (Janus likes to)."""
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Process:
    """A server's process: its CPU and memory."""

    def __init__(self, argv, env=None, core=SERVER_CORE, log=None, urgent=False):
        self.log = open(log, "wb") if log else subprocess.DEVNULL
        self.process = subprocess.Popen(taskset(core, argv) if core is not None else list(map(str, argv)),
                                        env=dict(os.environ, **(env or {})), stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=subprocess.STDOUT,
                                        preexec_fn=urgent_child if urgent else quiet_child)
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
                 address=SERVER_IP, urgent=False, **lines):
        self.engine, self.wire, self.name = engine, wire, name
        self.folder = tempfile.mkdtemp(prefix="bench-sfu-")
        secret = os.urandom(32).hex().encode()
        text = SORI_INI.format(address=address, folder=self.folder, threads=threads,
                               **{k: lines.get(k, "") for k in ("sfu", "transport", "limits", "audio", "video")})
        for file_name, content in (("secret", secret), ("sfu.ini", text.encode())):
            with open(os.path.join(self.folder, file_name), "wb", opener=lambda p, f: os.open(p, f, 0o600)) as f:
                f.write(content)
        self.server = Process([binary or os.path.join(BUILD, "sori-sfu"), "--config",
                               os.path.join(self.folder, "sfu.ini")], env, core, os.path.join(self.folder, "out"), urgent)
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


# --- scenes

class Here:
    """Instead of a wire: the engine runs on the servers' side, where nothing is impaired."""

    @staticmethod
    def inside(argv):
        return list(map(str, argv))


class Scene:
    """A network, a server and an engine; Chromium and libwebrtc as wished."""

    def __init__(self, **lines):
        self.lines, self.media, self.numbers = lines, [], 0

    def __enter__(self):
        self.net = Net()
        self.engine = self.sfu = None
        try:
            self.engine = Engine(Here)
            self.sfu = Sori(Here, self.engine, core=None, threads=1, **self.lines)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for m in self.media:
            m.close()
        if self.sfu:
            if sys.exc_info()[0]:
                print(self.sfu.log())
            self.sfu.close()
        if self.engine:
            self.engine.close()
        self.net.close()

    def client(self, kind, room, script="", seed=1, **offer):
        """A real client in the room, with media running."""
        self.numbers += 1
        m = Media(self, kind, f"m{self.numbers}", room, script, seed, offer)
        self.media.append(m)
        return m

    def film(self, room, n, layers=("h",)):
        """Client n of the engine publishes the film: one stream, or as simulcast; gives the track."""
        media = dict(VIDEO)
        if len(layers) > 1:
            media["lines"] = (*VIDEO["lines"], "a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
                              *(f"a=rid:{r} send" for r in layers), f"a=simulcast:send {';'.join(layers)}")
        reply = self.sfu.join(room, n, [(media, 0, "sendonly", 7000 if len(layers) == 1 else None)])
        self.engine.wait_up([n])
        for i, layer in enumerate(layers):
            rid = [f"rid=10:{layer}"] if len(layers) > 1 else []
            self.engine("play", n, 7000 + i, VIDEO["pt"], FPS, film_file(layer), f"mid={MID_ID}:0", *rid)
        self.engine("report", "on")
        return reply["tracks"][0]["track"]

    def talker(self, room, n, level=20):
        """Client n of the engine talks."""
        self.sfu.join(room, n, [(AUDIO, 0, "sendonly", 1000 + n)])
        self.engine.wait_up([n])
        self.engine("pub", n, 1000 + n, AUDIO["pt"], 50, VOICE_BYTES, 1, f"mid={MID_ID}:0", f"level={LEVEL_ID}:{level}",
                    f"offset={n * 7919 % 20000}")


class Media:
    """One real client. up is its publishing, down what it receives; both go through its path."""

    def __init__(self, scene, kind, name, room, script, seed, offer):
        self.scene, self.name, self.room = scene, name, room
        self.place = scene.net.client(script, seed)
        self.process = self.place.popen(["node", os.path.join(ROOT, "tests/clients/media_client.mjs"), kind],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert json.loads(self.process.stdout.readline() or "{}").get("ready"), f"{kind} does not start"
        got = self("offer", **offer)
        self.tracks = [{"mid": mid, "source": "microphone", "muted": False}
                       for mid, direction in got["mids"] if direction.startswith("send")]
        self.reply = scene.sfu.ctl.request("join", room, name, mode="single", perms=ALL, autoAudio=True, autoVideo=True,
                                           offer=got["sdp"], tracks=self.tracks)
        self("answer", sdp=self.reply["answer"])
        scene.sfu.ctl.wait("state", lambda e: e["participant"] == name and e["state"] == "connected")

    def __call__(self, do, **arguments):
        self.process.stdin.write((json.dumps(dict(arguments, do=do)) + "\n").encode())
        self.process.stdin.flush()
        got = json.loads(self.process.stdout.readline() or '{"error": "the client ended"}')
        if "error" in got:
            raise RuntimeError(f"{self.name}: {got['error']}")
        return got

    @property
    def path(self):
        return self.place.path

    def heard(self):
        """Sums over all audio streams: (samples, concealed samples, packets, lost packets)."""
        audio = self("stats")["audio"]
        return tuple(sum(s.get(k, 0) for s in audio) for k in (
            "totalSamplesReceived", "concealedSamples", "packetsReceived", "packetsLost"))

    def restart(self):
        """ICE restart."""
        reply = self.scene.sfu.ctl.request("offer", self.room, self.name, offer=self("restart")["sdp"], tracks=self.tracks)
        self("answer", sdp=reply["answer"])

    def close(self):
        self.process.stdin.close()


def film_file(layer):
    """Ten seconds of VP8 that begin with the only key frame, made when they are not there."""
    name, width, height, kbit = next(x for x in LAYERS if x[0] == layer)
    path = os.path.join(FILMS, f"{name}-{height}p{FPS}-{kbit}k.ivf")
    if not os.path.exists(path):
        os.makedirs(FILMS, exist_ok=True)
        subprocess.run(
            ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", f"testsrc2=size={width}x{height}:rate={FPS}", "-t", "10",
             "-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-g", "10000", "-keyint_min", "10000",
             "-error-resilient", "1", "-lag-in-frames", "0", "-b:v", f"{kbit}k", "-maxrate", f"{kbit}k", "-bufsize",
             f"{kbit // 2}k", "-f", "ivf", path + ".part"], check=True, stdin=subprocess.DEVNULL)
        os.rename(path + ".part", path)
    return path

/**
 * The page in a room that exists only in the test: a scripted sori-server behind the browser's own
 * WebSocket, and, in the page itself, a second RTCPeerConnection that answers like an SFU and fills the
 * slots with painted pictures and tones. What a page looks like, and what it sends, without daemons.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const WEB = resolve(fileURLToPath(import.meta.url), '../../../server/web');
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };

/** Serves server/web and a token for everybody. */
export async function serveWeb() {
  const server = createServer(async (request, response) => {
    const path = new URL(request.url, 'http://x').pathname;
    if (path === '/dev/token') return response.end(JSON.stringify({ token: 'scripted' }));
    const file = path === '/' ? '/index.html' : path;
    try {
      const body = await readFile(`${WEB}${file}`);
      response.setHeader('content-type', TYPES[extname(file)] ?? 'application/octet-stream');
      return response.end(body);
    } catch {
      response.statusCode = 404;
      return response.end();
    }
  });

  await new Promise((up) => { server.listen(0, '127.0.0.1', up); });
  return { url: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
}

/** Runs in the page: answers offers, sends a painted picture or a tone on every slot. */
function loopback() {
  const size = { width: 640, height: 360 };
  const scale = 0.5; // of what is encoded: a dozen pictures share the page with who looks at them
  const paint = (mid) => {
    const canvas = Object.assign(document.createElement('canvas'), { width: size.width * scale, height: size.height * scale });
    const g = canvas.getContext('2d');
    g.scale(scale, scale);
    let frame = 0;
    const hue = (Number(mid) * 67) % 360;
    const draw = () => {
      const sky = g.createLinearGradient(0, 0, 0, size.height);
      sky.addColorStop(0, `hsl(${hue} 45% 62%)`);
      sky.addColorStop(1, `hsl(${(hue + 40) % 360} 40% 30%)`);
      g.fillStyle = sky;
      g.fillRect(0, 0, size.width, size.height);
      g.fillStyle = `hsl(${hue} 30% 82%)`;
      g.beginPath();
      g.arc(size.width / 2, size.height * 0.42 + Math.sin(frame / 20) * 4, 68, 0, 7);
      g.fill();
      g.beginPath();
      g.ellipse(size.width / 2, size.height, 150, 130, 0, 0, 7);
      g.fill();
      frame++;
    };
    draw();
    setInterval(draw, 100);
    return canvas.captureStream(10).getVideoTracks()[0];
  };
  const tone = (mid) => {
    window.tones ??= new AudioContext();
    const oscillator = new OscillatorNode(window.tones, { frequency: 300 + 50 * Number(mid) });
    const out = window.tones.createMediaStreamDestination();
    oscillator.connect(new GainNode(window.tones, { gain: 0.05 })).connect(out);
    oscillator.start();
    return out.stream.getAudioTracks()[0];
  };

  window.sfu = {
    pc: null,
    offers: [],
    channels: {},
    async answer(sdp, fresh) {
      if (fresh) this.pc?.close();
      if (fresh || !this.pc) {
        this.pc = new RTCPeerConnection();
        this.pc.ondatachannel = ({ channel }) => {
          this.channels[channel.label] = channel;
          channel.onmessage = ({ data }) => { window.sfuGot?.(channel.label, data); };
        };
      }
      const { pc } = this;
      this.offers.push(sdp);
      await pc.setRemoteDescription({ type: 'offer', sdp });
      for (const t of pc.getTransceivers()) {
        const section = sdp.split(/^m=/m).find((s) => s.includes(`a=mid:${t.mid}\r\n`));
        if (!/^a=recvonly/m.test(section) || t.sender.track) continue;
        t.direction = 'sendonly';
        await t.sender.replaceTrack(t.receiver.track.kind === 'video' ? paint(t.mid) : tone(t.mid));
      }
      await pc.setLocalDescription();
      if (pc.iceGatheringState !== 'complete')
        await new Promise((done) => {
          pc.onicegatheringstatechange = () => { if (pc.iceGatheringState === 'complete') done(); };
        });
      return pc.localDescription.sdp;
    },
    data(label, message) {
      this.channels[label].send(message);
    },
  };
}

const track = (who, mid, kind, source, more) => ({
  trackId: `${who}:${mid}`, mid: String(mid), kind, source, muted: false, layers: kind === 'video' ? 3 : 1, ...more,
});

/** The server's half of one page's conversation. */
export class ScriptedRoom {
  #ws = null;
  #seq = 0;
  #page;
  #got = [];
  #waiting = [];

  constructor(page) {
    this.#page = page;
    this.people = new Map(); // participantId -> participant
    this.slots = [];
    this.permissions = { publish: true, subscribe: true, data: true, admin: false, hidden: false };
    this.offers = 0;
  }

  static async on(page) {
    const room = new ScriptedRoom(page);

    await page.addInitScript(loopback);
    await page.routeWebSocket(/\/ws$/, (ws) => {
      room.#ws = ws;
      room.#seq = 0;
      ws.onMessage((text) => room.#heard(JSON.parse(text)));
    });
    return room;
  }

  /** Somebody is, or comes, in the room. */
  person(user, { camera = true, microphone = true, muted = false, screen = false, ...more } = {}) {
    const participantId = `p-${user}`;
    const tracks = [];

    if (microphone) tracks.push(track(participantId, 0, 'audio', 'microphone', { muted }));
    if (camera) tracks.push(track(participantId, 1, 'video', 'camera'));
    if (screen) tracks.push(track(participantId, 2, 'video', 'screen'));
    const fields = { participantId, user, deviceId: 'd', name: user, role: 'member', state: 'connected', tracks, ...more };
    this.people.set(participantId, fields);
    if (this.offers > 0) {
      this.say('room.participant', { event: 'joined', participant: fields });
      this.fill();
    }
    return participantId;
  }

  /** Puts tracks on slots, as they come. */
  fill() {
    for (const slot of this.slots) {
      delete slot.trackId;
      delete slot.participantId;
    }
    for (const [participantId, { tracks }] of this.people)
      for (const { trackId, kind } of tracks) {
        const slot = this.slots.find((s) => s.kind === kind && !s.trackId);
        if (slot) Object.assign(slot, { trackId, participantId });
      }
    this.say('room.slots', { slots: this.#slotList() });
  }

  /** A message of the server about the room. */
  say(type, data) {
    const numbered = type !== 'room.speakers' && type !== 'room.quality';
    this.#ws.send(JSON.stringify({ type, ...(numbered && { seq: ++this.#seq }), roomId: this.roomId, data }));
  }

  /** The next message of a type that the page sends, or has sent and nobody has read. */
  next(type) {
    const i = this.#got.findIndex((msg) => msg.type === type);

    if (i >= 0) return Promise.resolve(this.#got.splice(i, 1)[0]);
    return new Promise((done) => { this.#waiting.push({ type, done }); });
  }

  drop() {
    this.#ws.close({ code: 1012 });
  }

  #slotList() {
    return this.slots.map(({ mid, trackId, participantId }) => ({ mid, ...(trackId && { trackId, participantId }) }));
  }

  #reply(msg, data) {
    this.#ws.send(JSON.stringify({ type: msg.type, re: msg.id, seq: ++this.#seq, roomId: msg.roomId, data }));
  }

  async #heard(msg) {
    const waiting = this.#waiting.findIndex((w) => w.type === msg.type);

    if (waiting >= 0) this.#waiting.splice(waiting, 1)[0].done(msg);
    else this.#got.push(msg);
    switch (msg.type) {
      case 'hello':
        this.#ws.send(JSON.stringify({
          type: 'welcome',
          data: {
            sessionId: 's', resumeToken: 'r', resumeTtlMs: 120000, resumed: false, lastSeq: 0, userId: this.me,
            name: this.me, deviceId: 'd', nodeId: 'n', serverTime: 0, pingIntervalMs: 25000, pingTimeoutMs: 10000,
            limits: {}, activeCalls: [],
          },
        }));
        break;
      case 'presence.subscribe':
        this.#ws.send(JSON.stringify({ type: msg.type, re: msg.id, data: { users: [] } }));
        break;
      case 'room.join': case 'room.offer': await this.#answer(msg); break;
      case 'room.subscribe': this.#reply(msg, { slots: this.#slotList() }); break;
      case 'room.invite':
        this.#reply(msg, { invites: msg.data.users.map((user) => ({ user, callId: `call-${user}` })), failed: [] });
        break;
      default:
        if (msg.id) this.#reply(msg, {});
    }
  }

  async #answer(msg) {
    const { offer, fresh } = msg.data;
    const join = msg.type === 'room.join';
    const sdp = await this.#page.evaluate(([s, f]) => window.sfu.answer(s, f), [offer.sdp, join || fresh]);

    this.offers++;
    this.roomId = msg.roomId;
    if (join || fresh) this.slots = [];
    for (const section of offer.sdp.split(/^m=/m).slice(1)) {
      const mid = /^a=mid:(\S+)/m.exec(section)[1];
      if (/^a=recvonly/m.test(section) && !this.slots.some((s) => s.mid === mid))
        this.slots.push({ mid, kind: section.split(' ')[0] });
    }
    this.#reply(msg, {
      ...(join && {
        participantId: 'p-me', role: 'member', permissions: this.permissions, more: false, iceServers: [],
        room: { roomId: msg.roomId, limits: { participants: 100, tracks: 8, slots: 32, metadataBytes: 512 } },
        participants: [...this.people.values()],
      }),
      answer: { type: 'answer', sdp },
      tracks: msg.data.tracks.map(({ mid, source, muted }) => ({
        trackId: `p-me:${mid}`, mid, source, kind: source === 'microphone' ? 'audio' : 'video', muted: muted === true, layers: 1,
      })),
      slots: this.#slotList(),
    });
    this.fill();
  }
}

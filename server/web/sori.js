/**
 * Sori for the web: calls, rooms, presence and a connection that comes back by itself.
 *
 *     import { Sori } from './sori.js';
 *     const sori = new Sori({ url: 'wss://host:8443/ws', token: ({ deviceId }) => getToken(deviceId) });
 *     sori.addEventListener('incoming', (e) => ring(e.call));     // e.call.accept() or .reject()
 *     await sori.connect();
 *     const call = await sori.call('bob', { video: false });
 *     call.addEventListener('media', () => { audio.srcObject = call.remoteStream; });
 *     const room = await sori.joinRoom('team', { video: true });  // sori_room.js
 *
 * The wire protocol is docs/SIGNALING.md. Three parts, from the bottom: Link is one session over
 * many sockets (seq, ack, resume, §2, §3, §6); Call is one call and its RTCPeerConnection (§5);
 * Sori joins them, opens rooms (sori_room.js) and listens to the browser. The other sori_*.js files lie
 * beside this one; otherwise no dependencies; Chromium, Firefox and Safari. In
 * Node.js 20 it does signaling only: pass WebSocket, and whatever else is missing, in `env`.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import {
  SoriError, SoriEvent, Timers, defaultStorage, hex, loadJson, saveJson, surroundings, tabDeviceId, uuid,
} from './sori_base.js';
import { estimateMos, readStats } from './sori_quality.js';
import { RelayWatch } from './sori_relay.js';
import { QualityReporter } from './sori_report.js';
import { LocalTrack, Participant, RemoteTrack, Room } from './sori_room.js';

export { LocalTrack, Participant, RemoteTrack, Room, SoriError, estimateMos, tabDeviceId };

const SUBPROTOCOL = 'sori.v1';

const WELCOME_TIMEOUT_MS = 10_000; // socket opened to welcome; the server gives up after 5 s each
const RETRY_FIRST_MS = 250;
const RETRY_MAX_MS = 15_000;
const PEACE_MS = 30_000; // after so long without a break the back-off starts over
const ACK_AFTER_MS = 1_000;
const ACK_AFTER_MESSAGES = 16;
const OUTBOX_MAX = 256;
const REQUEST_TRIES = 3;
const PING_INTERVAL_MS = 25_000; // until welcome says otherwise
const PING_TIMEOUT_MS = 10_000;

const PROBE_MS = 3_000; // for a sign of life when there is reason to doubt

const CALL_ONLINE_MS = 10_000; // a call that can't be placed for so long is not placed at all
const CANDIDATE_BATCH_MS = 50;
const CANDIDATES_PER_MESSAGE = 32;
const CANDIDATES_KEPT = 512;
const NEGOTIATION_MS = 10_000; // an offer without an answer for so long is taken back
const RETRY_OFFER_MS = 1_000;
const ASK_AGAIN_MS = 5_000; // whose a call is could not be told
const HEAL_MS = { caller: 1_500, callee: 3_000 }; // 'disconnected' before an ICE restart
const HEAL_AGAIN_MS = 6_000;
const RELAY_GIVE_WAY_MS = 300; // the callee's restart waits for the caller's
const LOST_MS = 35_000; // no media and no server: over (the server's own limit is 30 s)
const CREDENTIALS_MS = 2_000;
const RENEW_AT = 0.75; // of the relay credentials' life
const RENEW_RETRY_MS = 10_000;
const STATS_MS = 1_000;
const MOVE_MS = 1_000; // for a room's sound to come, when a call moved there
const MOVE_OVERLAP_MS = 500; // the other side may hear us by the call for so much longer
const ENDED_KEPT = 64;
const SUBSCRIBE_BATCH_MS = 30;
const SUBSCRIBE_MAX = 500;

/** What to do after each close code (docs/SIGNALING.md §7). What is not here is resumed. */
const AFTER_CLOSE = {
  1000: 'stop', 1001: 'resume', 1002: 'stop', 1003: 'stop', 1007: 'stop', 1009: 'stop',
  1011: 'resume', 1012: 'resume', 1013: 'backoff', 4400: 'renew', 4401: 'token', 4403: 'stop',
  4408: 'resume', 4409: 'stop', 4423: 'stop', 4429: 'backoff',
};
const ELSEWHERE = new Set([1001, 1012, 1013]); // this node goes, or has no room
const BACKOFF_ATTEMPT = 3; // where 'backoff' enters the doubling: up to 1 s
const MISSED = new Set(['cancelled', 'timeout', 'unreachable', 'busy']); // by the callee
const WORTH_REPEATING = new Set(['rate_limited', 'overloaded', 'internal']);

/* ---- Link: one session over many sockets --------------------------------------------------- */

/*
 *   idle ──start──► connecting ──welcome──► online
 *                    ▲      │                 │
 *                    │  failed, closed      closed, silent, network moved
 *                    │      ▼                 │
 *                  waiting ◄──────────────────┘        any ──stop, fatal close code──► stopped
 *
 * Outgoing messages stay in the outbox until they are acknowledged and, for requests, answered.
 */
class Link {
  #o; // urls, token(), deviceId, capabilities, platform, storage, key
  #on; // state(), welcome(), message()
  #env;
  #timers;
  #ws = null;
  #state = 'idle';
  #at = 0; // which of the urls
  #reached = false; // a welcome came over the socket that there is, or was last
  #turn = 0; // grows with each attempt: an await that comes back late sees it
  #attempt = 0;
  #afterMs = null; // goaway's or an error's delay for the next attempt
  #token = null;
  #helloError = null;
  #session = null; // { sessionId, resumeToken }
  #ours = false; // the session was made or resumed by this object, so #sendSeq is right
  #sendSeq = 0;
  #recvSeq = 0;
  #ackedSeq = 0; // the last #recvSeq that we told
  #outbox = []; // { msg, waits, acked, resolve, reject }
  #ids;
  #n = 0;
  #pingMs = PING_INTERVAL_MS;
  #pongMs = PING_TIMEOUT_MS;
  #heardAt = 0;

  constructor(options, on, env) {
    this.#o = options;
    this.#on = on;
    this.#env = env;
    this.#timers = new Timers(env);
    this.#ids = hex(env.randomBytes(4)); // ids stay unique when a reload resumes the session
    const kept = loadJson(options.storage, this.#key());
    if (kept?.sessionId && kept.resumeToken) {
      this.#session = { sessionId: kept.sessionId, resumeToken: kept.resumeToken };
      this.#recvSeq = kept.lastSeq ?? 0;
    }
  }

  get state() {
    return this.#state;
  }

  start() {
    if (this.#state !== 'idle' && this.#state !== 'stopped') return;
    this.#attempt = 0;
    this.#connect();
  }

  /** Ends the session on the server too: nothing is kept for a resume. */
  close() {
    if (this.#state === 'online') this.#write({ type: 'session.close', id: this.#newId(), seq: ++this.#sendSeq });
    this.#forget();
    this.#stop(1000, 'closed by us');
  }

  /** The network moved, or the page woke up: the socket is not to be trusted any more. */
  renew() {
    if (this.#state === 'idle' || this.#state === 'stopped') return;
    this.#drop();
    this.#attempt = Math.max(this.#attempt, 1); // the one made now is the retry at once
    this.#connect();
  }

  /** Asks for a sign of life within ms, else the socket is dropped. */
  probe(ms) {
    if (this.#state === 'waiting') this.renew();
    else if (this.#state === 'online') this.#ping(Math.min(ms, this.#pongMs));
  }

  /** How long nothing was heard, ms. */
  get silentMs() {
    return this.#env.now() - this.#heardAt;
  }

  /** Sends a request; resolves with the answering message, rejects with a SoriError. Asks again by
   * itself where the error says so, except with `once`. `seq: false` for presence. */
  async request(type, fields = {}, { once = false, seq = true } = {}) {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#ask(type, fields, seq);
      } catch (error) {
        const worth = WORTH_REPEATING.has(error.code)
          || (error.code === 'store.unavailable' && /^(call|room)\./.test(type)); // its node is being followed
        if (once || !worth || tries >= REQUEST_TRIES) throw error;
        await new Promise((again) => {
          this.#env.setTimeout(again, error.retryAfterMs || RETRY_OFFER_MS * tries);
        });
      }
    }
  }

  /** Sends a reliable message that has no reply. */
  send(type, fields = {}) {
    if (this.#state === 'stopped' || this.#full()) return;
    this.#post({ msg: { type, ...fields, seq: ++this.#sendSeq }, waits: false, acked: false });
  }

  #ask(type, fields, seq) {
    return new Promise((resolve, reject) => {
      if (this.#state === 'stopped') return reject(new SoriError('closed'));
      if (this.#full()) return reject(new SoriError('busy_link'));
      const msg = { type, id: this.#newId(), ...fields };
      if (seq) msg.seq = ++this.#sendSeq;
      this.#post({ msg, waits: true, acked: !seq, resolve, reject });
    });
  }

  #newId() {
    return `${this.#ids}.${++this.#n}`;
  }

  #full() {
    return this.#outbox.length >= OUTBOX_MAX;
  }

  #post(entry) {
    this.#outbox.push(entry);
    if (this.#state === 'online') this.#write(entry.msg);
  }

  #write(msg) {
    if (this.#recvSeq > 0) {
      msg = { ...msg, ack: this.#recvSeq };
      this.#ackedSeq = this.#recvSeq;
      this.#timers.clear('ack');
    }
    this.#ws.send(JSON.stringify(msg));
  }

  #setState(state, info = {}) {
    this.#state = state;
    this.#on.state(state, info);
  }

  /* -- connecting -- */

  async #connect() {
    const turn = ++this.#turn;

    this.#timers.clearAll();
    this.#helloError = null;
    this.#setState('connecting');
    try {
      this.#token ??= await this.#o.token({ deviceId: this.#o.deviceId });
    } catch (error) {
      if (turn === this.#turn) this.#retry({ error });
      return;
    }
    if (turn !== this.#turn) return;
    let ws;
    try {
      ws = new this.#env.WebSocket(this.#o.urls[this.#at], [SUBPROTOCOL]);
    } catch (error) { // not a WebSocket URL: it will not become one
      this.#stop(1002, error.message);
      return;
    }
    this.#ws = ws;
    this.#reached = false;
    ws.onopen = () => this.#hello();
    ws.onmessage = (event) => this.#receive(event.data);
    ws.onclose = (event) => this.#closed(event.code ?? 1006, event.reason);
    this.#timers.set('welcome', WELCOME_TIMEOUT_MS, () => this.#lost('no welcome'));
  }

  #hello() {
    const data = {
      token: this.#token,
      deviceId: this.#o.deviceId,
      platform: this.#o.platform,
      capabilities: this.#o.capabilities,
      appState: this.#env.document?.visibilityState === 'hidden' ? 'background' : 'foreground',
    };
    if (this.#session) data.resume = { ...this.#session, lastSeq: this.#recvSeq };
    if (this.#session && this.#ours)
      data.resume.nextSeq = this.#outbox.find(({ msg, acked }) => msg.seq && !acked)?.msg.seq ?? this.#sendSeq + 1;
    this.#ws.send(JSON.stringify({ type: 'hello', id: this.#newId(), data }));
  }

  #welcome(data) {
    const resumed = data.resumed === true;
    const fromStorage = resumed && !this.#ours;

    if (resumed) this.#settleUpTo(this.#ours ? data.lastSeq : 0);
    else this.#recvSeq = 0;
    this.#ackedSeq = this.#recvSeq;
    if (!resumed || fromStorage) this.#renumber(resumed ? data.lastSeq : 0);
    this.#session = { sessionId: data.sessionId, resumeToken: data.resumeToken };
    this.#ours = true;
    this.#save();
    this.#pingMs = data.pingIntervalMs || PING_INTERVAL_MS;
    this.#pongMs = data.pingTimeoutMs || PING_TIMEOUT_MS;
    this.#afterMs = null;
    this.#reached = true;
    this.#timers.clear('welcome');
    this.#timers.set('peace', PEACE_MS, () => { this.#attempt = 0; });
    this.#state = 'online';
    this.#heard();
    for (const entry of [...this.#outbox])
      if (entry.waits ? !(entry.acked && entry.msg.seq) : !entry.acked) this.#write(entry.msg);
    this.#setState('online', { resumed });
    this.#on.welcome(data, resumed);
  }

  /** A new session, or one that another page began: numbers follow `from`, ids stay. */
  #renumber(from) {
    this.#sendSeq = from;
    for (const entry of this.#outbox) {
      if (!entry.msg.seq) continue;
      entry.msg.seq = ++this.#sendSeq;
      entry.acked = false;
    }
  }

  /** The server has everything up to seq: what waits for no answer is done. */
  #settleUpTo(seq) {
    for (const entry of this.#outbox) if (entry.msg.seq && entry.msg.seq <= seq) entry.acked = true;
    this.#outbox = this.#outbox.filter((entry) => entry.waits || !entry.acked);
  }

  /* -- breaking and coming back -- */

  #closed(code, reason) {
    const after = AFTER_CLOSE[code] ?? 'resume';

    this.#drop();
    if (after === 'stop') return this.#stop(code, reason, code !== 4409);
    if (after === 'renew') this.#forget();
    if (after === 'token') this.#token = null;
    if (after === 'backoff') this.#attempt = Math.max(this.#attempt, BACKOFF_ATTEMPT);
    return this.#retry({ code, reason, error: this.#helloError });
  }

  #lost(reason) {
    this.#drop();
    this.#retry({ code: 1006, reason });
  }

  #drop() {
    const ws = this.#ws;

    this.#ws = null;
    this.#turn++;
    this.#timers.clearAll();
    if (!ws) return;
    ws.onopen = ws.onmessage = ws.onclose = null;
    try {
      ws.close();
    } catch { /* it is gone either way */ }
  }

  #next() {
    this.#at = (this.#at + 1) % this.#o.urls.length;
  }

  /** First at once, then 0.25 s doubling to 15 s, full jitter; a delay by the server overrides. */
  #retry(info) {
    const most = Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** (this.#attempt - 1));
    const jittered = this.#attempt === 0 ? 0 : this.#env.random() * most;
    const retryInMs = this.#afterMs ?? jittered;

    this.#afterMs = null;
    this.#attempt++;
    if (!this.#reached || ELSEWHERE.has(info.code)) this.#next();
    this.#setState('waiting', { ...info, retryInMs });
    this.#timers.set('retry', retryInMs, () => this.#connect());
  }

  #stop(code, reason, forget = true) {
    const ws = this.#ws;
    const left = this.#outbox;

    if (this.#state === 'stopped') return;
    this.#ws = null;
    this.#turn++;
    this.#timers.clearAll();
    if (ws) {
      ws.onopen = ws.onmessage = ws.onclose = null;
      ws.close(1000);
    }
    if (forget) this.#forget();
    this.#outbox = [];
    this.#token = null;
    this.#setState('stopped', { code, reason });
    for (const entry of left) entry.reject?.(new SoriError('closed', reason));
  }

  #key() {
    return `sori.session.${this.#o.deviceId}`;
  }

  #save() {
    saveJson(this.#o.storage, this.#key(), { ...this.#session, lastSeq: this.#recvSeq });
  }

  #forget() {
    this.#session = null;
    this.#ours = false;
    this.#recvSeq = 0;
    saveJson(this.#o.storage, this.#key(), null);
  }

  /* -- hearing -- */

  #heard() {
    this.#heardAt = this.#env.now();
    this.#timers.clear('pong');
    this.#timers.set('ping', this.#pingMs, () => this.#ping(this.#pongMs));
  }

  #ping(ms) {
    this.#write({ type: 'ping', data: { t: this.#env.now() } });
    this.#timers.set('pong', ms, () => this.#lost('no pong'));
  }

  #receive(text) {
    let msg;

    try {
      msg = JSON.parse(text);
    } catch {
      return this.#lost('not JSON');
    }
    if (this.#state !== 'online') return this.#beforeWelcome(msg);
    this.#heard();
    if (msg.ack) this.#settleUpTo(msg.ack);
    if (msg.seq && !this.#inOrder(msg.seq)) return undefined;
    this.#dispatch(msg);
    if (msg.seq) this.#save();
    return undefined;
  }

  #beforeWelcome(msg) {
    if (msg.type === 'welcome') return this.#welcome(msg.data);
    if (msg.type === 'server.goaway') this.#afterMs = msg.data.reconnectDelayMs;
    if (msg.type !== 'error') return undefined;
    this.#helloError = new SoriError(msg.data.code, msg.data.message, msg.data);
    if (msg.data.retryAfterMs > 0) this.#afterMs = msg.data.retryAfterMs;
    if (msg.data.status === 401) this.#token = null;
    return undefined;
  }

  /** Counts a reliable message; false when it was had before, or when the order is broken. */
  #inOrder(seq) {
    if (seq > this.#recvSeq + 1) {
      this.#ws.close(4400);
      this.#forget();
      this.#lost('sequence gap');
      return false;
    }
    const fresh = seq === this.#recvSeq + 1;
    if (fresh) this.#recvSeq = seq;
    if (this.#recvSeq - this.#ackedSeq >= ACK_AFTER_MESSAGES) this.#write({ type: 'ack' });
    else if (!this.#timers.has('ack'))
      this.#timers.set('ack', ACK_AFTER_MS, () => this.#write({ type: 'ack' }));
    return fresh;
  }

  #dispatch(msg) {
    if (msg.re) return this.#answered(msg);
    switch (msg.type) {
      case 'ack': case 'pong': return undefined;
      case 'auth.expiring': return this.#refresh();
      case 'server.goaway': return this.#goaway(msg.data);
      default: return this.#on.message(msg);
    }
  }

  #answered(msg) {
    const i = this.#outbox.findIndex((entry) => entry.waits && entry.msg.id === msg.re);

    if (i < 0) return;
    const [entry] = this.#outbox.splice(i, 1);
    if (msg.type !== 'error') entry.resolve(msg);
    else entry.reject(new SoriError(msg.data.code, msg.data.message, msg.data));
  }

  async #refresh() {
    const turn = this.#turn;

    try {
      const token = await this.#o.token({ deviceId: this.#o.deviceId });
      this.#token = token;
      if (turn === this.#turn) await this.request('auth.refresh', { data: { token } });
    } catch { /* the server closes with 4401 at expiry, and that asks for a token again */ }
  }

  #goaway({ reconnectDelayMs = 0, resumable = true }) {
    if (!resumable) this.#forget();
    this.#afterMs = reconnectDelayMs;
    this.#timers.set('goaway', reconnectDelayMs, () => {
      this.#next();
      this.#afterMs = null;
      this.renew();
    });
  }
}

/* ---- Call ------------------------------------------------------------------------------------- */

/*
 * Everything that touches the RTCPeerConnection runs in one chain, in the order in which messages
 * came, so W3C's perfect negotiation needs no flag for "an offer is being made": in a step of the
 * chain signalingState is either stable or not. The caller is the impolite peer.
 */

/**
 * One call. Made by Sori.call() or handed over by the `incoming` and `call` events.
 *
 * Events: `state` (state changed), `ended` (`reason`, `by`, `missed`, `durationMs`, once and last),
 * `media` (a stream or a track of it came or went), `info` (the other side muted, held …), `stats`
 * (`stats`: CallStats, each second), `quality` (`judged`: what the server made of our last report, every
 * 10 s and once more after the end), `upgrade` (`roomId`: the other side moves the call to a room; call
 * upgrade() to come along).
 *
 * `state`: `dialing` (the server has not answered yet), `inviting` (it looks for the callee's
 * devices), `ringing` (the other side rings), `incoming` (we ring), `connecting`, `active`,
 * `reconnecting`, `ended`.
 */
export class Call extends EventTarget {
  #s; // what Sori lends: env, link, userId(), relayOnly(), gone(), rekey(), remember(), joinRoom()
  #timers;
  #chain = Promise.resolve();
  #pc = null;
  #iceServers = null;
  #offer = null; // the caller's, while we ring
  #role;
  #relayOnly;
  #known = false; // the server has this call
  #sent = false; // our invite or answer is under way
  #established = false; // negotiation goes by call.negotiate from now on
  #fresh = false; // our RTCPeerConnection is new to the other side
  #needed = false; // the browser wants to negotiate
  #restart = false;
  #offerId = null;
  #wasUp = false;
  #serverState = '';
  #outCandidates = [];
  #mayTrickle = false;
  #inCandidates = [];
  #ownTracks = new Set();
  #raw = null;
  #quality;
  #relay;
  #reported = '';
  #upgrading = null;
  #moved = null; // how the call ends, as soon as the room is heard

  /** @type {string} UUID; a merged call (glare) takes over the other side's */
  id;
  /** @type {string} user id of the other side */
  peer;
  /** @type {string} display name of the other side, or its user id */
  peerName;
  /** @type {'outgoing'|'incoming'} */
  direction;
  /** @type {boolean} it began as a video call */
  video;
  /** @type {boolean} it came while another call was on */
  waiting = false;
  /** @type {boolean} it was running before this page was loaded */
  restored = false;
  state;
  /** @type {object|null} the caller's `metadata.custom` */
  custom = null;
  /** An invitation into a room: after accept() use Sori.joinRoom(call.room.roomId).
   * @type {{roomId: string, participants: {user: string, name?: string}[], count: number}|null} */
  room = null;
  /** @type {number|null} ms since 1970 when we stop ringing */
  expiresAt = null;
  /** @type {number|null} ms since 1970 when media first connected */
  startedAt = null;
  /** @type {{reason: string, by?: string, missed: boolean, durationMs: number, deviceId?: string}|null} */
  end = null;
  muted = false;
  onHold = false;
  /** What the other side told: audioMuted, videoMuted, onHold, screenSharing, custom.
   * @type {object} */
  remote = { audioMuted: false, videoMuted: false, onHold: false };
  /** @type {MediaStream|null} */
  localStream = null;
  /** @type {MediaStream|null} the same object for the whole call; its tracks may change */
  remoteStream = null;
  /** @type {CallStats|null} */
  stats = null;
  /** What the server makes of our reports: this one's mos and r (missing: nothing came), and the call so
   * far: samples, mosAvg, mosP10, mosMin, lossPermille, rttMs, silenceMs, path.
   * @type {object|null} */
  judged = null;
  /** @type {Error|null} what went wrong last, for the log */
  error = null;

  /** Not for applications. */
  constructor(s, fields) {
    super();
    this.#s = s;
    this.#timers = new Timers(s.env);
    this.#quality = new QualityReporter((data) => this.#tellQuality(data));
    this.#relay = new RelayWatch(s.env, {
      servers: () => this.#iceServers ?? [], died: () => this.#relayDied(),
    });
    this.#relayOnly = s.relayOnly();
    this.#role = fields.direction === 'outgoing' ? 'caller' : 'callee';
    this.id = fields.id;
    this.peer = fields.peer;
    this.peerName = fields.peerName || fields.peer;
    this.direction = fields.direction;
    this.video = fields.video ?? false;
    this.state = fields.state;
    this.remoteStream = s.env.MediaStream ? new s.env.MediaStream() : null;
  }

  /** @returns {boolean} our camera is on */
  get cameraOn() {
    return (this.localStream?.getVideoTracks().length ?? 0) > 0;
  }

  /** @returns {boolean} the other side sends a picture */
  get remoteVideoOn() {
    // Not track.muted: Chromium leaves it true for ever when the offers crossed (rollback).
    const receives = this.#pc?.getTransceivers().some((t) => t.receiver.track.kind === 'video'
      && (t.currentDirection === 'sendrecv' || t.currentDirection === 'recvonly'));
    return Boolean(receives) && !this.remote.videoMuted && !this.remote.onHold;
  }

  /* -- what the application does -- */

  /**
   * Takes an incoming call. On a refused microphone or camera the call goes on ringing: ask again,
   * or reject({reason: 'media_failed'}).
   *
   * @param {{video?: boolean, stream?: MediaStream}} [o] video: with our camera (default false);
   *     stream: use these tracks instead of asking (they are not stopped at the end)
   * @throws {DOMException} what getUserMedia threw
   * @throws {SoriError} `bad_state`: it does not ring any more
   */
  async accept({ video = false, stream } = {}) {
    if (this.state !== 'incoming') throw new SoriError('bad_state', `it is ${this.state}`);
    if (this.room) {
      await this.#acceptInvitation();
      return;
    }
    await this.#openMedia({ video, stream });
    if (this.state !== 'incoming') {
      this.#stopMedia();
      throw new SoriError('bad_state', `it is ${this.state}`);
    }
    this.#timers.clear('ring');
    this.#setState('connecting');
    await this.#run(() => this.#answer());
  }

  /**
   * Refuses an incoming call. Takes effect here at once; does nothing when it does not ring.
   *
   * @param {{reason?: 'declined'|'busy'|'need_permission'|'media_failed', scope?: 'all'|'device'}} [o]
   *     scope `device`: only this device stops ringing
   */
  reject({ reason = 'declined', scope = 'all' } = {}) {
    if (this.state !== 'incoming') return;
    this.#tell('call.reject', { reason, scope });
    this.#finish({ reason, by: this.#s.userId() });
  }

  /** Ends the call whatever its state: cancels, rejects or hangs up. Takes effect here at once. */
  hangup() {
    if (this.state === 'ended') return;
    if (this.state === 'incoming') return this.reject();
    const early = !this.#established && this.#role === 'caller';
    this.#quality.end(); // before the hangup, so that the record of the call knows its path
    if (early && this.#sent) this.#tell('call.cancel', {});
    else if (this.#established || this.#sent) this.#tell('call.hangup', {});
    else if (!early) this.#tell('call.reject', { reason: 'declined', scope: 'all' });
    return this.#finish({ reason: early ? 'cancelled' : 'hangup', by: this.#s.userId() });
  }

  /** Silences our microphone, and tells the other side. */
  setMuted(muted) {
    this.muted = muted;
    this.#applyMute();
    this.#sendInfo();
    this.#emit('info');
  }

  /** Stops media in both directions until it is called with false; the other side is told.
   *
   * @throws {SoriError} `bad_state` before the call is answered and after it ended */
  setHold(onHold) {
    this.#mustBeAnswered();
    if (this.onHold === onHold) return;
    this.onHold = onHold;
    this.#applyMute();
    this.#applyDirections();
    this.#sendInfo();
    this.#emit('info');
  }

  /**
   * Turns our camera on (asking for it) or off (releasing it).
   *
   * @throws {DOMException} what getUserMedia threw; the call goes on without
   * @throws {SoriError} `bad_state` before the call is answered and after it ended
   */
  async setCamera(on) {
    this.#mustBeAnswered();
    if (on === this.cameraOn) return;
    if (on) {
      const stream = await this.#s.env.mediaDevices.getUserMedia({ video: true });
      const [track] = stream.getVideoTracks();
      if (this.state === 'ended' || this.cameraOn) return track.stop();
      this.#ownTracks.add(track);
      this.localStream.addTrack(track);
      await this.#run(() => this.#sendTrack(track));
    } else {
      const [track] = this.localStream.getVideoTracks();
      this.localStream.removeTrack(track);
      if (this.#ownTracks.delete(track)) track.stop();
      await this.#run(() => this.#senderOf(track)?.replaceTrack(null));
      this.#applyDirections();
    }
    this.#sendInfo();
    this.#remember();
    return this.#emit('media');
  }

  /**
   * Moves the call to a room, where others can be invited. The call goes on until both sides have
   * media there, and then ends with `room_migrated`; let the room's sound be heard from then on. No gap
   * is heard where its audio slots play before that, muted. Asking again gives the same room.
   *
   * @param {object} [o] as of Sori.joinRoom(); by default with copies of our tracks here
   * @returns {Promise<Room>}
   * @throws {SoriError} `bad_state`; `call.invalid_state`: the other side knows no rooms;
   *     `sfu.unavailable`
   */
  upgrade(o = {}) {
    this.#mustBeAnswered();
    this.#upgrading ??= this.#moveToRoom(o).catch((error) => {
      this.#upgrading = null;
      throw error;
    });
    return this.#upgrading;
  }

  /** Looks for a new way through the network (ICE restart). The library does it by itself when the
   * network moves or the media stops; while there is no connection to the server it waits for it. */
  restartIce() {
    if (!this.#established || this.state === 'ended' || this.#s.link.state !== 'online') return;
    this.#timers.set('heal', HEAL_AGAIN_MS, () => { if (!this.#isUp()) this.restartIce(); });
    this.#run(async () => {
      const pc = this.#pc;
      if (!pc || this.#fresh) return;
      await this.#refreshCredentials();
      pc.setConfiguration?.(this.#configuration());
      this.#restartNow();
    });
  }

  /** @returns {Promise<RTCStatsReport|null>} the raw report, for what CallStats does not have */
  async getStats() {
    return this.#pc ? this.#pc.getStats() : null;
  }

  /* -- what Sori does -- */

  /** Places an outgoing call; the media is open already. */
  async _dial({ custom, ringTimeoutMs }) {
    let reply;

    try {
      await this.#run(async () => {
        this.#makePeer([]);
        for (const track of this.localStream.getTracks()) await this.#sendTrack(track);
        this.#offer = await this.#pc.createOffer(); // set on reply, when the ICE servers are known
      });
      if (this.state === 'ended') return;
      const metadata = { isVideo: this.video, timestamp: this.#s.env.now() };
      if (custom) metadata.custom = custom;
      this.#sent = true;
      reply = await this.#s.link.request('call.invite', {
        to: this.peer,
        callId: this.id,
        data: { offer: this.#offer, metadata, ...(ringTimeoutMs && { ringTimeoutMs }) },
      }, { once: true });
    } catch (error) {
      this.#refused(error);
      return;
    }
    await this._invited(reply.data);
  }

  async _invited(data) {
    if (this.state === 'ended') return;
    this.#known = true;
    if (data.state === 'glare') return this.#merge(data);
    if (this.state === 'dialing') this.#setState('inviting');
    this.#iceServers = data.iceServers ?? null;
    await this.#run(async () => {
      this.#pc.setConfiguration?.(this.#configuration());
      await this.#pc.setLocalDescription(this.#offer);
      this.#offer = null;
      this.#trickle();
    });
  }

  /** Opens microphone (and camera) for an outgoing call. */
  async _open(o) {
    await this.#openMedia(o);
  }

  /** Rings: from call.incoming, or from a call view after a reload. */
  _ring({ offer, room, iceServers, expiresInMs, metadata, callWaiting }) {
    this.#known = true;
    this.room = room ?? null;
    this.#offer = offer;
    this.#iceServers = iceServers ?? null;
    this.waiting = callWaiting === true;
    this.custom = metadata?.custom ?? null;
    this.expiresAt = this.#s.env.now() + expiresInMs;
    this.#timers.set('ring', expiresInMs, () => this.#finish({ reason: 'timeout' }));
    this.#s.link.request('call.ringing', { callId: this.id }).catch((e) => this.#overBecause(e));
  }

  /** A message of the server about this call. */
  _receive(msg) {
    const data = msg.data ?? {};

    if (this.state === 'ended') return;
    switch (msg.type) {
      case 'call.ringing':
        if (this.state === 'inviting' || this.state === 'dialing') this.#setState('ringing');
        break;
      case 'call.accepted': this.#accepted(data.answer); break;
      case 'call.ended': this.#ended(data); break;
      case 'call.candidates': this.#takeCandidates(data.candidates); break;
      case 'call.negotiate': this.#run(() => this.#negotiate(data)); break;
      case 'call.upgrade': this.#emit('upgrade', { roomId: data.roomId }); break;
      case 'call.info':
        Object.assign(this.remote, data);
        this.#emit('info');
        this.#emit('media');
        break;
      case 'call.state':
        this.#serverState = data.state;
        this.#deriveState();
        break;
      default:
    }
  }

  /** After a welcome. view: the server's, or undefined when it does not list the call. */
  _welcomed(view) {
    if (this.state === 'ended' || !this.#known) return;
    if (!view) this.#ask();
    else if (view.answer && this.#role === 'caller') this.#accepted(view.answer);
    if (this.#established && !this.#isUp()) this.restartIce();
  }

  /** The call ran before this page was loaded: opens media and a new RTCPeerConnection. */
  async _restore(view, kept) {
    this.#known = true;
    this.restored = true;
    this.#established = view.state !== 'inviting' && view.state !== 'ringing';
    this.#wasUp = view.state === 'active' || view.state === 'reconnecting';
    this.startedAt = kept?.startedAt ?? null;
    this.muted = kept?.muted ?? false;
    this.onHold = kept?.onHold ?? false;
    try {
      await this.#openMedia({ video: kept?.camera ?? view.isVideo });
    } catch {
      this.#tell('call.hangup', { reason: 'media_failed' });
      this.#finish({ reason: 'media_failed' });
      return;
    }
    if (this.#established) this.#rebuild();
  }

  /** This device's network moved. */
  _moved() {
    if (this.#established) this.restartIce();
  }

  /** The library stops: nothing is sent any more. */
  _drop(reason) {
    this.#finish({ reason });
  }

  /** True while our invite to the user is not answered by the server. */
  _isDialing(user) {
    return this.peer === user && this.state === 'dialing' && this.#sent && !this.#known;
  }

  /* -- life -- */

  #emit(type, fields) {
    this.dispatchEvent(new SoriEvent(type, { call: this, ...fields }));
  }

  #setState(state) {
    if (this.state === state || this.state === 'ended') return;
    this.state = state;
    this.#emit('state');
  }

  #deriveState() {
    if (!this.#established) return;
    if (this.#isUp()) {
      this.#wasUp = true;
      this.startedAt ??= this.#s.env.now();
      this.#remember();
    }
    const good = this.#isUp() && this.#serverState !== 'reconnecting';
    this.#setState(good ? 'active' : this.#wasUp ? 'reconnecting' : 'connecting');
  }

  #mustBeAnswered() {
    if (!this.#established || this.state === 'ended')
      throw new SoriError('bad_state', `it is ${this.state}`);
  }

  #isUp() {
    return this.#pc?.connectionState === 'connected';
  }

  /** A request that ends the call; it is already over here, so no answer matters. */
  #tell(type, data) {
    this.#s.link.request(type, { callId: this.id, data }).catch(() => {});
  }

  #finish({ reason = 'hangup', by, missed, durationMs, deviceId }) {
    if (this.state === 'ended') return;
    missed ??= this.direction === 'incoming' && !this.#established && MISSED.has(reason);
    const lasted = this.startedAt ? this.#s.env.now() - this.startedAt : 0;

    this.end = { reason, by, missed, durationMs: durationMs ?? lasted, deviceId };
    this.#quality.end();
    this.#timers.clearAll();
    if (this.#moved && reason === 'room_migrated') this.#fadeOut();
    this.#closePeer();
    this.#stopMedia();
    this.state = 'ended';
    this.#s.gone(this);
    this.#emit('state');
    this.#emit('ended', this.end);
  }

  /** The server says that it is over. A call that moved to a room goes on here until the room is heard. */
  async #ended(end) {
    if (end.reason !== 'room_migrated' || !this.#upgrading) {
      this.#finish(end);
      return;
    }
    this.#moved = end;
    const room = await this.#upgrading.catch(() => null);
    await room?._heard(MOVE_MS);
    this.#finish(end);
  }

  /** Leaves the connection to end by itself: the other side needs it until the room is heard there. */
  #fadeOut() {
    const pc = this.#pc;
    const tracks = [...this.#ownTracks];

    if (!pc) return;
    pc.onicecandidate = pc.ontrack = pc.onnegotiationneeded = pc.onconnectionstatechange = null;
    this.#pc = null;
    this.#ownTracks.clear();
    this.#s.env.setTimeout(() => {
      pc.close();
      for (const track of tracks) track.stop();
    }, MOVE_OVERLAP_MS);
  }

  /** The invite was refused: the end reason that fits the error. */
  #refused(error) {
    const reasons = { 'call.busy': 'busy', 'callee.unreachable': 'unreachable', forbidden: 'forbidden' };
    const reason = reasons[error.code] ?? error.details?.reason ?? 'server_error';

    this.error = error;
    this.#finish({ reason });
  }

  /** A request about the call failed because it is over, or somebody else's. */
  #overBecause(error) {
    if (this.#moved) return;
    if (error.code === 'call.already_answered')
      this.#finish({ reason: 'answered_elsewhere', deviceId: error.details.winner });
    else if (error.code === 'call.ended') this.#finish({ reason: error.details.reason });
    else if (error.code === 'call.not_found') this.#finish({ reason: 'connection_lost' });
  }

  /** The server's list does not have this call: what became of it? */
  async #ask() {
    try {
      const { data } = await this.#s.link.request('call.sync', { callId: this.id });
      if (data.state === 'ended') this.#finish(data);
      else if (this.#role === 'callee' && !data.selected && this.state !== 'incoming')
        this.#finish({ reason: 'answered_elsewhere' });
    } catch (error) {
      this.#overBecause(error);
      if (error.retryable && this.state !== 'ended') this.#timers.set('ask', ASK_AGAIN_MS, () => this.#ask());
    }
  }

  /** One step of the chain. A step that fails ends the call only before it was established. */
  #run(step) {
    const done = this.#chain.then(() => (this.state === 'ended' ? undefined : step()));

    this.#chain = done.catch((error) => {
      if (this.state === 'ended') return;
      this.error = error;
      if (this.#established) return;
      if (this.#known) this.#tell(this.#role === 'caller' ? 'call.cancel' : 'call.reject',
        this.#role === 'caller' ? {} : { reason: 'media_failed', scope: 'device' });
      this.#finish({ reason: 'media_failed' });
    });
    return this.#chain;
  }

  #remember() {
    this.#s.remember(this.id, {
      camera: this.cameraOn, muted: this.muted, onHold: this.onHold, startedAt: this.startedAt,
    });
  }

  /* -- setting up -- */

  async #moveToRoom(o) {
    const { data } = await this.#s.link.request('call.upgrade', { callId: this.id });
    const copy = (track) => track?.clone() ?? false;

    return this.#s.joinRoom(data.roomId, {
      audio: copy(this.localStream?.getAudioTracks()[0]),
      video: copy(this.localStream?.getVideoTracks()[0]),
      muted: this.muted,
      ownTracks: true,
      ...o,
    });
  }

  /** An invitation into a room is a call only as long as it rings. */
  async #acceptInvitation() {
    this.#timers.clear('ring');
    this.#setState('connecting');
    try {
      await this.#s.link.request('call.answer', { callId: this.id, data: {} });
    } catch (error) {
      this.#overBecause(error);
      throw error;
    }
    this.#finish({ reason: 'room_migrated', missed: false });
  }

  /** The callee's first answer. */
  async #answer() {
    const offer = this.#offer;

    if (!this.#iceServers) await this.#refreshCredentials();
    this.#offer = null;
    this.#makePeer(this.#iceServers ?? []);
    await this.#pc.setRemoteDescription(offer);
    for (const track of this.localStream.getTracks()) await this.#sendTrack(track);
    await this.#drainCandidates();
    await this.#pc.setLocalDescription();
    const { type, sdp } = this.#pc.localDescription;
    let reply;
    this.#sent = true;
    try {
      reply = await this.#s.link.request('call.answer', { callId: this.id, data: { answer: { type, sdp } } });
    } catch (error) {
      this.#overBecause(error);
      if (this.state !== 'ended') throw error;
      return;
    }
    this.#iceServers = reply.data?.iceServers ?? this.#iceServers;
    this.#establish();
    this.#trickle();
    this.#emit('media');
  }

  /** The caller hears that somebody took the call. */
  #accepted(answer) {
    if (this.#established || !answer) return;
    this.#establish();
    if (!this.#pc) {
      if (this.localStream) this.#rebuild(); // reloaded while it rang; else _restore() is still opening
      return;
    }
    this.#run(async () => {
      await this.#pc.setRemoteDescription(answer);
      this.#emit('media');
      await this.#drainCandidates();
    });
  }

  #establish() {
    this.#established = true;
    this.#setState('connecting');
    if (this.muted) this.#sendInfo();
    if (this.#pc && this.#pc.connectionState !== 'new') this.#connectionChanged();
    this.#run(() => this.#offerIfNeeded());
  }

  /** Our invite crossed theirs: this call becomes theirs, which we answer without ringing. */
  async #merge({ mergedInto, offer, iceServers }) {
    this.#closePeer();
    this.#role = 'callee';
    this.#sent = false;
    this.#offer = offer;
    this.#iceServers = iceServers ?? null;
    this.#inCandidates = this.#s.rekey(this, mergedInto).concat(this.#inCandidates);
    this.#setState('connecting');
    await this.#run(() => this.#answer());
  }

  /** Our RTCPeerConnection is gone (a reload): a new one, and the other side makes one too. */
  #rebuild() {
    return this.#run(async () => {
      await this.#refreshCredentials();
      this.#makePeer(this.#iceServers ?? []);
      for (const track of this.localStream.getTracks()) await this.#sendTrack(track);
      this.#applyDirections();
      this.#fresh = true;
      this.#mayTrickle = false;
      this.#deriveState();
      await this.#makeOffer();
    });
  }

  /* -- peer connection -- */

  #configuration() {
    return {
      iceServers: this.#iceServers ?? [],
      iceTransportPolicy: this.#relayOnly ? 'relay' : 'all',
      bundlePolicy: 'max-bundle',
    };
  }

  #makePeer(iceServers) {
    this.#closePeer();
    this.#iceServers = iceServers;
    const pc = new this.#s.env.RTCPeerConnection(this.#configuration());
    this.#pc = pc;
    pc.onicecandidate = (e) => { if (this.#pc === pc) this.#gathered(e.candidate); };
    pc.ontrack = (e) => { if (this.#pc === pc) this.#addRemote(e.track); };
    pc.onnegotiationneeded = () => {
      if (this.#pc !== pc || !pc.remoteDescription) return; // the first offer goes by itself
      this.#needed = true;
      this.#run(() => this.#offerIfNeeded());
    };
    pc.onconnectionstatechange = () => { if (this.#pc === pc) this.#connectionChanged(); };
  }

  #closePeer() {
    const pc = this.#pc;

    this.#pc = null;
    this.#offerId = null;
    this.#needed = false;
    this.#outCandidates = [];
    this.#raw = null;
    this.#quality.restart();
    this.#relay.stop();
    this.#timers.clear('stats');
    this.#timers.clear('relay');
    this.#timers.clear('offer');
    if (!pc) return;
    pc.onicecandidate = pc.ontrack = pc.onnegotiationneeded = pc.onconnectionstatechange = null;
    pc.close();
  }

  #connectionChanged() {
    const state = this.#pc.connectionState;

    this.#report({ connectionState: state });
    this.#deriveState();
    if (state === 'connected') {
      this.#timers.clear('heal');
      this.#timers.clear('lost');
      if (this.#iceServers?.length > 0 && !this.#timers.has('renew')) this.#refreshCredentials();
      this.#measure();
    } else if (state === 'disconnected' || state === 'failed') {
      this.#s.link.probe(PROBE_MS); // perhaps it is the whole network
      this.#timers.set('heal', state === 'failed' ? 0 : HEAL_MS[this.#role], () => this.restartIce());
      if (!this.#timers.has('lost')) this.#timers.set('lost', LOST_MS, () => this.#mediaLost());
    }
  }

  /** Media is gone for long. While the server can be reached it is the one to say so. */
  #mediaLost() {
    if (this.#s.link.state !== 'online') this.#finish({ reason: 'connection_lost' });
    else this.#timers.set('lost', LOST_MS, () => this.#mediaLost());
  }

  #report(data) {
    const text = JSON.stringify(data);

    if (!this.#established || text === this.#reported) return;
    this.#reported = text;
    this.#s.link.send('call.state', { callId: this.id, data });
  }

  /** Asks for relay credentials; gives up waiting, not asking, after a while. */
  async #refreshCredentials() {
    const asked = this.#s.link.request('turn.credentials', { callId: this.id }, { once: true })
      .then(({ data }) => {
        this.#iceServers = this.#relay.order(data.iceServers);
        if (data.ttlMs > 0 && this.state !== 'ended') this.#renewAfter(data.ttlMs * RENEW_AT);
      })
      .catch((error) => { // go on with what we have
        if (error.code === 'turn.unavailable') this.#timers.clear('renew');
      });
    let timer;

    await Promise.race([asked, new Promise((done) => {
      timer = this.#s.env.setTimeout(done, CREDENTIALS_MS);
    })]);
    this.#s.env.clearTimeout(timer);
  }

  #renewAfter(ms) {
    this.#timers.set('renew', ms, () => this.#renewCredentials());
  }

  /** The relay takes no refresh with credentials that ended, so a call that runs over our
   * allocation moves to a new one before; the media goes on over the old one meanwhile. */
  #renewCredentials() {
    this.#renewAfter(RENEW_RETRY_MS); // replaced when the server answers
    this.#run(async () => {
      await this.#refreshCredentials();
      if (!this.#pc) return;
      this.#pc.setConfiguration?.(this.#configuration());
      if (this.stats?.path?.local === 'relay') this.#restartNow();
    });
  }

  /** Our relay is dead, long before the browser says so. The other side, which hears as little of us, may be
   * over the same one: then one of both restarts, with the relays of both in their new order. */
  #relayDied() {
    this.#iceServers = this.#relay.order(this.#iceServers);
    this.#pc.setConfiguration?.(this.#configuration());
    if (this.#role === 'caller') this.#restartNow();
    else this.#timers.set('relay', RELAY_GIVE_WAY_MS, () => this.#restartNow());
  }

  #restartNow() {
    this.#restart = true;
    this.#pc.restartIce();
  }

  /* -- negotiation -- */

  /** Makes the offer that the browser asked for; while one is under way it asks again later. */
  async #offerIfNeeded() {
    if (!this.#needed || !this.#established || this.#pc?.signalingState !== 'stable') return;
    await this.#makeOffer();
  }

  async #makeOffer() {
    const pc = this.#pc;
    const iceRestart = this.#restart;

    this.#needed = false;
    await pc.setLocalDescription();
    if (pc.localDescription?.type !== 'offer') return;
    this.#restart = false;
    const id = uuid(this.#s.env);
    const { type, sdp } = pc.localDescription;
    const data = { description: { type, sdp }, negotiationId: id };
    if (iceRestart) data.iceRestart = true;
    if (this.#fresh) data.fresh = true;
    this.#offerId = id;
    this.#timers.set('offer', NEGOTIATION_MS, () => this.#takeBack(id, iceRestart));
    this.#s.link.request('call.negotiate', { callId: this.id, data }, { once: true })
      .catch((error) => this.#offerRefused(id, iceRestart, error));
    this.#trickle();
  }

  #offerRefused(id, iceRestart, error) {
    if (this.#offerId !== id) return;
    this.#overBecause(error);
    // On glare the other side's offer comes and rolls ours back; the timer is for when it does not.
    if (this.state !== 'ended')
      this.#timers.set('offer', RETRY_OFFER_MS, () => this.#takeBack(id, iceRestart));
  }

  /** No answer to our offer: back to stable, and once more. */
  #takeBack(id, iceRestart) {
    if (this.#s.link.state !== 'online') {
      this.#timers.set('offer', RETRY_OFFER_MS, () => this.#takeBack(id, iceRestart));
      return;
    }
    this.#run(async () => {
      if (this.#offerId !== id || this.#pc?.signalingState !== 'have-local-offer') return;
      this.#offerId = null;
      this.#tell('call.negotiate', { description: { type: 'rollback', sdp: '' }, negotiationId: id });
      await this.#pc.setLocalDescription({ type: 'rollback' });
      if (iceRestart) this.#restart = true;
      await this.#makeOffer();
    });
  }

  async #negotiate({ description, negotiationId, fresh, iceRestart }) {
    if (iceRestart) this.#timers.clear('relay');
    if (description?.type === 'offer') return this.#takeOffer(description, negotiationId, fresh === true);
    if (description?.type !== 'answer' || negotiationId !== this.#offerId) return undefined;
    if (this.#pc?.signalingState !== 'have-local-offer') return undefined;
    this.#offerId = null;
    this.#timers.clear('offer');
    await this.#pc.setRemoteDescription(description);
    this.#fresh = false;
    this.#emit('media');
    await this.#drainCandidates();
    return this.#offerIfNeeded();
  }

  async #takeOffer(description, negotiationId, fresh) {
    const impolite = this.#role === 'caller';
    const crossed = this.#pc !== null && this.#pc.signalingState !== 'stable';

    if (!this.#established) return;
    if (fresh) {
      if (this.#fresh && impolite) return; // both reloaded: they take ours
      await this.#startOver();
    } else if (!this.#pc || this.#fresh) {
      return; // meant for the RTCPeerConnection that we lost; ours is on its way
    } else if (crossed && impolite) {
      return;
    }
    const pc = this.#pc;
    if (crossed && !fresh) this.#timers.clear('offer');
    this.#offerId = null;
    await pc.setRemoteDescription(description);
    if (fresh) for (const track of this.localStream.getTracks()) await this.#sendTrack(track);
    if (fresh) this.#applyDirections();
    await this.#drainCandidates();
    await pc.setLocalDescription();
    const { type, sdp } = pc.localDescription;
    this.#s.link.request('call.negotiate', {
      callId: this.id, data: { description: { type, sdp }, negotiationId },
    }).catch((error) => this.#overBecause(error));
    this.#trickle();
    this.#emit('media');
    if (fresh && (this.muted || this.onHold || this.video)) this.#sendInfo();
    await this.#offerIfNeeded();
  }

  /** The other side has lost its RTCPeerConnection: ours is worth nothing either. */
  async #startOver() {
    await this.#refreshCredentials();
    this.#makePeer(this.#iceServers ?? []);
    this.#inCandidates = [];
    this.#fresh = false;
    this.#restart = false;
    this.#mayTrickle = false;
    for (const track of this.remoteStream?.getTracks() ?? []) this.remoteStream.removeTrack(track);
    this.#deriveState();
  }

  /* -- candidates -- */

  #gathered(candidate) {
    this.#outCandidates.push(candidate ? candidate.toJSON() : { candidate: '' });
    if (this.#mayTrickle && !this.#timers.has('trickle'))
      this.#timers.set('trickle', CANDIDATE_BATCH_MS, () => this.#trickle());
  }

  /** From now on the other side may have our candidates; sends those that wait. */
  #trickle() {
    this.#mayTrickle = true;
    while (this.#outCandidates.length > 0)
      this.#s.link.send('call.candidates', {
        callId: this.id,
        data: { candidates: this.#outCandidates.splice(0, CANDIDATES_PER_MESSAGE) },
      });
  }

  #takeCandidates(candidates) {
    if (!Array.isArray(candidates)) return;
    // Each message in its turn: those behind an offer must not be tried before it.
    this.#run(() => {
      this.#inCandidates.push(...candidates.slice(0, CANDIDATES_PER_MESSAGE));
      if (this.#inCandidates.length > CANDIDATES_KEPT) this.#inCandidates.length = CANDIDATES_KEPT;
      return this.#drainCandidates();
    });
  }

  /** Candidates kept for a call that merges into another. */
  _takeOver() {
    return this.#inCandidates.splice(0);
  }

  async #drainCandidates() {
    if (!this.#pc?.remoteDescription) return;
    for (const candidate of this.#inCandidates.splice(0))
      try {
        await this.#pc.addIceCandidate(candidate);
      } catch { /* of an offer that we ignored, or of a connection before a reload */ }
  }

  /* -- media -- */

  async #openMedia({ video = false, stream }) {
    if (!stream) {
      if (!this.#s.env.mediaDevices) throw new SoriError('no_media', 'needs https or localhost');
      stream = await this.#s.env.mediaDevices.getUserMedia({ audio: true, video });
      for (const track of stream.getTracks()) this.#ownTracks.add(track);
    }
    if (this.state === 'ended') return this.#stopMedia();
    this.localStream = stream;
    this.#applyMute();
    this.#remember();
    return this.#emit('media');
  }

  #stopMedia() {
    for (const track of this.#ownTracks) track.stop();
    this.#ownTracks.clear();
  }

  #applyMute() {
    for (const track of this.localStream?.getAudioTracks() ?? []) track.enabled = !this.muted;
  }

  #senderOf(track) {
    return this.#pc?.getSenders().find((s) => s.track === track);
  }

  /** Sends a track over a transceiver that has none to send, or over a new one. */
  async #sendTrack(track) {
    if (!this.#pc) return;
    const idle = this.#pc.getTransceivers()
      .find((t) => !t.stopped && !t.sender.track && t.receiver.track?.kind === track.kind);
    if (idle) {
      await idle.sender.replaceTrack(track);
      idle.sender.setStreams?.(this.localStream);
    } else {
      this.#pc.addTrack(track, this.localStream);
    }
    this.#applyDirections();
  }

  #applyDirections() {
    for (const t of this.#pc?.getTransceivers() ?? []) {
      if (t.stopped) continue;
      const want = this.onHold ? 'inactive' : t.sender.track ? 'sendrecv' : 'recvonly';
      if (t.direction !== want) t.direction = want;
    }
  }

  #addRemote(track) {
    const changed = () => this.#emit('media');

    if (!this.remoteStream) return;
    for (const old of this.remoteStream.getTracks())
      if (old.kind === track.kind && old !== track) this.remoteStream.removeTrack(old);
    this.remoteStream.addTrack(track);
    track.onmute = track.onunmute = track.onended = changed;
    changed();
  }

  #sendInfo() {
    this.#remember();
    if (!this.#established || this.state === 'ended') return;
    const data = { audioMuted: this.muted, videoMuted: !this.cameraOn, onHold: this.onHold };
    this.#s.link.send('call.info', { callId: this.id, data });
  }

  /* -- quality -- */

  #measure() {
    this.#timers.set('stats', STATS_MS, () => this.#measure());
    const pc = this.#pc;
    pc.getStats().then((report) => {
      if (this.#pc !== pc) return;
      const { sample, raw } = readStats(report, this.#raw);
      this.#raw = raw;
      this.stats = sample;
      if (sample.path) this.#report({ connectionState: pc.connectionState, path: sample.path.type });
      this.#emit('stats', { stats: sample });
      const quiet = this.onHold || this.remote.onHold || this.remote.audioMuted;
      this.#quality.take(report, this.#s.env.now(), !quiet);
      this.#relay.take(pc, report);
    }).catch(() => {});
  }

  /** Not kept for later: who is offline reports the longer interval when it is back. */
  #tellQuality(data) {
    if (!this.#established || this.#s.link.state !== 'online') return false;
    this.#s.link.request('call.quality', { callId: this.id, data }, { once: true }).then((reply) => {
      this.judged = reply.data;
      this.#emit('quality', { judged: reply.data });
    }).catch(() => {}); // the next one tells more
    return true;
  }
}

/* ---- Sori ------------------------------------------------------------------------------------- */

/**
 * A user's connection to sori-server on this device.
 *
 * Events:
 * - `state`: `state` is `connecting`, `online`, `waiting` (`retryInMs`, `code`, `error`) or `stopped`
 *   (`code`: 1000 by close(); 4409 another tab or app took this device; 4403, 4423 forbidden,
 *   revoked; connect() starts again)
 * - `incoming`: `call` rings; accept() or reject() it
 * - `call`: `call` was running before this page was loaded and is being picked up; show it
 * - `presence`: `users`: list of {user, state, name?} that changed
 * - `error`: `error`: SoriError that answers no request
 */
export class Sori extends EventTarget {
  #env;
  #o;
  #link = null;
  #storage;
  #calls = new Map();
  #rooms = new Map();
  #held = new Map(); // call.incoming that waits for our own invite's answer: callId -> messages
  #ended = new Map(); // callId -> true, the last few
  #watched = new Set(); // presence
  #subscribed = new Set(); // what the server knows of it
  #watching = null; // subscribe() calls gathered for one request
  #presence = 'online';
  #starting = null;
  #listeners = [];
  #networkType;

  /** @type {string|null} known after the first welcome */
  userId = null;
  /** @type {string} display name */
  name = '';
  /** @type {string|null} known after connect() */
  deviceId = null;
  /** Relay only: calls made from now on go through TURN (RTCConfiguration.iceTransportPolicy).
   * @type {boolean} */
  relayOnly;
  /** The latest state of each subscribed user: `online`, `away`, `busy`, `offline`.
   * @type {Map<string, string>} */
  presence = new Map();

  /**
   * @param {object} o
   * @param {string|string[]} o.url `wss://host/ws`; of several nodes all of them: when one cannot be
   *     reached, or sends its clients away, the next is tried, and the session goes on there
   * @param {(about: {deviceId: string}) => Promise<string>|string} o.token gives a JWT; asked again
   *     whenever the server refuses the last one or it is about to end
   * @param {string} [o.deviceId] of this installation; by default one of this tab (tabDeviceId())
   * @param {Storage|null} [o.storage] where the session survives a reload: sessionStorage; null: nowhere
   * @param {string} [o.platform] `web`
   * @param {string[]} [o.capabilities] `['video', 'rooms']`; add `call-waiting` to get calls during a
   *     call; leave `rooms` out when invitations into rooms should not ring here
   * @param {boolean} [o.relayOnly] false
   * @param {object} [o.env] replaces what is taken from the browser, by name: see surroundings()
   */
  constructor(o) {
    super();
    this.#env = surroundings(o.env);
    this.#o = { platform: 'web', capabilities: ['video', 'rooms'], ...o };
    this.#storage = o.storage === undefined ? defaultStorage() : o.storage;
    this.relayOnly = o.relayOnly === true;
    this.#networkType = this.#env.connection?.type;
  }

  /** @returns {'idle'|'connecting'|'online'|'waiting'|'stopped'} */
  get state() {
    return this.#link?.state ?? 'idle';
  }

  /** @returns {Call[]} those that are not over */
  get calls() {
    return [...this.#calls.values()];
  }

  /** @returns {Room[]} those that we are in */
  get rooms() {
    return [...this.#rooms.values()];
  }

  /**
   * Connects, and stays connected until close() or a close code that says stop. Resolves at the
   * first welcome; while it can't be reached it goes on trying.
   *
   * @throws {SoriError} `closed` when it stopped before
   */
  connect() {
    this.#starting ??= this.#start().finally(() => { this.#starting = null; });
    return this.#starting;
  }

  async #start() {
    this.deviceId ??= this.#o.deviceId ?? await tabDeviceId(this.#storage, this.#env);
    this.#link ??= new Link({
      urls: [this.#o.url].flat(),
      token: this.#o.token,
      deviceId: this.deviceId,
      platform: this.#o.platform,
      capabilities: this.#o.capabilities,
      storage: this.#storage,
    }, {
      state: (state, info) => this.#stateChanged(state, info),
      welcome: (data, resumed) => this.#welcomed(data, resumed),
      message: (msg) => this.#received(msg),
    }, this.#env);
    this.#listen();
    const online = this.#whenOnline();
    this.#link.start();
    await online;
  }

  /** Leaves: the session ends on the server, calls are cancelled or hung up, rooms left, nothing is
   * kept. */
  close() {
    for (const call of this.calls) call._drop('hangup');
    for (const room of this.rooms) room._drop('left');
    this.#link?.close();
    saveJson(this.#storage, this.#callsKey(), null);
  }

  /**
   * Calls a user. Resolves with a Call in state `dialing` as soon as the microphone is open; how it
   * goes on is told by the call's events (`ended` with `busy`, `unreachable`, `declined`, `timeout` …).
   *
   * @param {string} user
   * @param {object} [o]
   * @param {boolean} [o.video] with camera; false
   * @param {MediaStream} [o.stream] use these tracks instead of asking; not stopped at the end
   * @param {object} [o.custom] up to 1 kB for the callee: Call.custom
   * @param {number} [o.ringTimeoutMs] 5,000 up to the server's limit, which is the default
   * @returns {Promise<Call>}
   * @throws {DOMException} what getUserMedia threw
   * @throws {SoriError} `offline`: no connection within 10 s; `closed`
   */
  async call(user, { video = false, stream, custom, ringTimeoutMs } = {}) {
    if (!this.#link) throw new SoriError('offline', 'connect() first');
    const call = this.#newCall({
      id: uuid(this.#env), peer: user, direction: 'outgoing', video, state: 'dialing',
    });
    try {
      await Promise.all([call._open({ video, stream }), this.#whenOnline(CALL_ONLINE_MS)]);
    } catch (error) {
      call._drop(error.code === 'offline' || error.code === 'closed' ? 'connection_lost' : 'media_failed');
      throw error;
    }
    call._dial({ custom, ringTimeoutMs }).finally(() => this.#release());
    return call;
  }

  /**
   * Joins a room; who comes first makes it. Resolves when we are in it; media may need a moment more
   * (`state`). A room survives lost connections until leave(), or until it says `closed`.
   *
   * @param {string} roomId 1 to 128 of A-Z a-z 0-9 . _ @ + -
   * @param {object} [o]
   * @param {boolean|MediaTrackConstraints|MediaStreamTrack} [o.audio] our microphone: true (default),
   *     false (listen only), how, or a track of your own
   * @param {boolean|MediaTrackConstraints|MediaStreamTrack} [o.video] our camera: false by default
   * @param {boolean} [o.muted] begin silent
   * @param {object} [o.metadata] for the others: Participant.metadata
   * @param {{audio?: 'auto'|'none', video?: 'auto'|'none'}} [o.subscribe] `auto` (default): the server
   *     chooses until setLayer() says otherwise; `none`: only what setLayer() asked for
   * @param {{audio?: number, video?: number}} [o.slots] how many streams at once, to begin with: 6 and 6
   * @param {'vp8'|'h264'|'vp9'|'av1'} [o.videoCodec] ours: vp8
   * @param {boolean} [o.simulcast] true: a camera in three layers
   * @param {boolean} [o.data] true: with data channels
   * @param {RTCConfiguration} [o.rtcConfiguration] goes over what the library takes
   * @param {(rtp: RTCRtpSender|RTCRtpReceiver, kind: 'audio'|'video') => (RTCRtpScriptTransform|null)}
   *     [o.transform] for end-to-end encryption: makes what each sender and receiver gets as its
   *     `transform`. It is asked as soon as they are there, before they carry anything: Chromium does
   *     not call a transform that comes later. Audio goes without RED, which the SFU would look into
   * @returns {Promise<Room>}
   * @throws {DOMException} what getUserMedia threw
   * @throws {SoriError} `offline`, `closed`, `bad_state` (we are in it), or the server's (§10)
   */
  async joinRoom(roomId, o = {}) {
    if (!this.#link) throw new SoriError('offline', 'connect() first');
    if (this.#rooms.has(roomId)) throw new SoriError('bad_state', 'already in this room');
    const room = new Room({
      env: this.#env,
      link: this.#link,
      userId: () => this.userId,
      userName: () => this.name,
      relayOnly: () => this.relayOnly,
      gone: (r) => { if (this.#rooms.get(roomId) === r) this.#rooms.delete(roomId); },
    }, roomId, o);
    this.#rooms.set(roomId, room);
    try {
      await Promise.all([room._open(), this.#whenOnline(CALL_ONLINE_MS)]);
      await room._join();
    } catch (error) {
      room._drop(error.code ?? 'media_failed');
      throw error;
    }
    return room;
  }

  /**
   * The user's calls as the server has kept them, the newest first (docs/SIGNALING.md §11).
   *
   * @param {{limit?: number, cursor?: string, missed?: boolean}} query
   * @returns {Promise<object[]>} rejects with `store.unavailable` where nothing is kept
   */
  async history(query = {}) {
    await this.#whenOnline();
    const { data } = await this.#link.request('history.list', { data: query }, { once: true });
    return data.calls;
  }

  /**
   * Follows the presence of users, over reconnects too; changes come as `presence` events.
   *
   * @param {string[]} users at most 500 in all
   * @returns {Promise<void>} when their present states are in `presence`
   */
  async subscribe(users) {
    for (const user of users) this.#watched.add(user);
    this.#watching ??= new Promise((done) => { this.#env.setTimeout(done, SUBSCRIBE_BATCH_MS); })
      .then(() => this.#whenOnline())
      .finally(() => { this.#watching = null; })
      .then(() => this.#watch());
    await this.#watching;
  }

  /** Stops following users. */
  async unsubscribe(users) {
    for (const user of users) {
      this.#watched.delete(user);
      this.#subscribed.delete(user);
      this.presence.delete(user);
    }
    await this.#link?.request('presence.unsubscribe', { data: { users } }, { seq: false });
  }

  /** Says how others see this device: `online`, `away`, `busy`, `invisible`. */
  async setPresence(state) {
    this.#presence = state;
    await this.#link?.request('presence.set', { data: { state } }, { seq: false });
  }

  /* -- inside -- */

  #emit(type, fields) {
    this.dispatchEvent(new SoriEvent(type, fields));
  }

  #stateChanged(state, info) {
    if (state === 'stopped') {
      for (const call of this.calls) call._drop('connection_lost');
      for (const room of this.rooms) room._drop('connection_lost');
      this.#unlisten();
    }
    this.#emit('state', { state, ...info });
  }

  #whenOnline(ms) {
    if (this.state === 'online') return Promise.resolve();
    return new Promise((resolve, reject) => {
      const done = (error) => {
        this.#env.clearTimeout(timer);
        this.removeEventListener('state', changed);
        if (error) reject(error);
        else resolve();
      };
      const changed = (event) => {
        if (event.state === 'online') done();
        else if (event.state === 'stopped') done(new SoriError('closed', event.reason));
      };
      const timer = ms && this.#env.setTimeout(() => done(new SoriError('offline')), ms);
      this.addEventListener('state', changed);
    });
  }

  #welcomed(data, resumed) {
    const views = new Map((data.activeCalls ?? []).map((view) => [view.callId, view]));

    this.userId = data.userId;
    this.name = data.name ?? data.userId;
    if (!resumed) this.#subscribed.clear();
    if (this.#watched.size > this.#subscribed.size) this.#watch().catch(() => {});
    if (!resumed && this.#presence !== 'online') this.setPresence(this.#presence).catch(() => {});
    for (const call of this.calls) call._welcomed(views.get(call.id));
    for (const room of this.rooms) room._welcomed(resumed);
    for (const [id, view] of views)
      if (!this.#calls.has(id) && !this.#ended.has(id)) this.#pickUp(view);
  }

  async #watch() {
    const users = [...this.#watched].filter((user) => !this.#subscribed.has(user));

    for (const user of users) this.#subscribed.add(user);
    for (let i = 0; i < users.length; i += SUBSCRIBE_MAX) {
      const data = { users: users.slice(i, i + SUBSCRIBE_MAX) };
      try {
        const reply = await this.#link.request('presence.subscribe', { data }, { seq: false });
        this.#presenceCame(reply.data.users);
      } catch (error) {
        for (const user of data.users) this.#subscribed.delete(user);
        throw error;
      }
    }
  }

  #presenceCame(users = []) {
    const ours = users.filter(({ user }) => this.#watched.has(user));

    for (const { user, state } of ours) this.presence.set(user, state);
    if (ours.length > 0) this.#emit('presence', { users: ours });
  }

  /** A call of this device that this page does not know: it was loaded after it began. */
  #pickUp(view) {
    const callee = view.role === 'callee';
    const rings = view.state === 'inviting' || view.state === 'ringing';

    if (view.state === 'ended' || (callee && !rings && !view.selected)) return;
    if (callee && rings && !view.offer && !view.room) return;
    const call = this.#newCall({
      id: view.callId,
      peer: view.peer,
      direction: callee ? 'incoming' : 'outgoing',
      video: view.isVideo,
      state: rings ? (callee ? 'incoming' : view.state) : 'connecting',
    });
    if (callee && rings) {
      call._ring(view);
      this.#emit('incoming', { call });
      return;
    }
    this.#emit('call', { call });
    call._restore(view, loadJson(this.#storage, this.#callsKey())?.[view.callId]);
  }

  #newCall(fields) {
    const call = new Call({
      env: this.#env,
      link: this.#link,
      userId: () => this.userId,
      relayOnly: () => this.relayOnly,
      gone: (c) => this.#gone(c),
      rekey: (c, id) => this.#rekey(c, id),
      remember: (id, value) => this.#remember(id, value),
      joinRoom: (roomId, o) => this.joinRoom(roomId, o),
    }, fields);

    this.#calls.set(call.id, call);
    return call;
  }

  #gone(call) {
    this.#calls.delete(call.id);
    this.#markEnded(call.id);
    this.#remember(call.id, undefined);
  }

  #markEnded(id) {
    this.#ended.set(id, true);
    if (this.#ended.size > ENDED_KEPT) this.#ended.delete(this.#ended.keys().next().value);
  }

  /** Glare: `call` goes on under the id of the other side's call; gives that one's candidates. */
  #rekey(call, id) {
    const ringing = this.#calls.get(id);
    const held = this.#held.get(id) ?? [];
    const candidates = ringing?._takeOver() ?? [];

    for (const msg of held) if (msg.type === 'call.candidates') candidates.push(...msg.data.candidates);
    this.#held.delete(id);
    this.#calls.delete(call.id);
    this.#markEnded(call.id);
    this.#remember(call.id, undefined);
    ringing?._drop('glare');
    this.#ended.delete(id);
    call.id = id;
    this.#calls.set(id, call);
    return candidates;
  }

  #received(msg) {
    if (msg.type === 'presence') return this.#presenceCame(msg.data.users);
    if (msg.type === 'error') {
      return this.#emit('error', { error: new SoriError(msg.data.code, msg.data.message, msg.data) });
    }
    if (msg.roomId) return this.#rooms.get(msg.roomId)?._receive(msg);
    if (!msg.callId) return undefined;
    if (this.rooms.some((room) => room._inviteCame(msg))) return undefined;
    if (this.#held.has(msg.callId)) return this.#held.get(msg.callId).push(msg);
    if (msg.type === 'call.incoming') return this.#incoming(msg);
    return this.#calls.get(msg.callId)?._receive(msg);
  }

  #incoming(msg) {
    if (this.#calls.has(msg.callId) || this.#ended.has(msg.callId)) return;
    // While our own invite to the same user is not answered this may be glare, which does not ring.
    if (this.calls.some((call) => call._isDialing(msg.from))) {
      this.#held.set(msg.callId, [msg]);
      return;
    }
    const call = this.#newCall({
      id: msg.callId,
      peer: msg.from,
      peerName: msg.data.fromName,
      direction: 'incoming',
      video: msg.data.metadata?.isVideo === true,
      state: 'incoming',
    });
    call._ring(msg.data);
    this.#emit('incoming', { call });
  }

  /** Our invite was answered: what was held back for it and did not merge rings now. */
  #release() {
    const held = [...this.#held.values()];

    this.#held.clear();
    for (const messages of held) for (const msg of messages) this.#received(msg);
  }

  /* -- memory over a reload -- */

  #callsKey() {
    return `sori.calls.${this.deviceId}`;
  }

  #remember(id, value) {
    const all = loadJson(this.#storage, this.#callsKey()) ?? {};

    if (value === undefined) delete all[id];
    else all[id] = value;
    saveJson(this.#storage, this.#callsKey(), all);
  }

  /* -- the browser's hints (docs/SIGNALING.md §6, 1) -- */

  #listen() {
    const on = (target, type, fn) => {
      if (!target?.addEventListener) return;
      target.addEventListener(type, fn);
      this.#listeners.push(() => target.removeEventListener(type, fn));
    };

    if (this.#listeners.length > 0) return;
    on(this.#env.window, 'online', () => this.#networkMoved());
    on(this.#env.document, 'resume', () => this.#link.renew());
    on(this.#env.document, 'visibilitychange', () => this.#visibilityChanged());
    on(this.#env.connection, 'change', () => {
      // It also fires for mere estimates of speed; only another kind of network counts.
      const type = this.#env.connection.type;
      if (type === this.#networkType) return;
      this.#networkType = type;
      this.#networkMoved();
    });
  }

  #unlisten() {
    for (const off of this.#listeners.splice(0)) off();
  }

  #networkMoved() {
    if (this.state === 'stopped') return;
    this.#link.renew();
    const moved = (event) => {
      if (event.state !== 'online') return;
      this.removeEventListener('state', moved);
      for (const call of this.calls) call._moved();
      for (const room of this.rooms) room._moved();
    };
    this.addEventListener('state', moved);
  }

  /** A page in front again after the sleep of a phone has a dead socket; after a look at another
   * tab it has not. So: dropped when it was silent for longer than it should, else asked. */
  #visibilityChanged() {
    if (this.#env.document.visibilityState !== 'visible') return;
    if (this.#link.silentMs > PING_INTERVAL_MS * 2) this.#link.renew();
    else this.#link.probe(PROBE_MS);
  }
}

/**
 * Rooms: group calls over sori-sfu.
 *
 *     const room = await sori.joinRoom('team', { audio: true, video: true });
 *     room.addEventListener('media', () => {
 *       for (const slot of room.audioSlots) attach(`audio-${slot.mid}`, slot.stream);
 *       for (const p of room.participants.values())
 *         for (const track of p.tracks.values()) if (track.stream) show(p, track.stream);
 *     });
 *     room.addEventListener('data', (e) => chat(e.participant.name, e.payload));
 *     room.sendData('hello', { topic: 'chat' });
 *
 * The wire protocol is docs/SIGNALING.md §10 (`single` mode). One RTCPeerConnection carries everything, and only we
 * offer: our tracks are its sendonly sections, and a pool of recvonly sections are *slots*. Which
 * track of whom is on which slot changes by message (`room.slots`), without a new offer; so an
 * element that plays a slot's stream goes on playing whoever is on it. Audio slots are filled by the
 * server with those who talk; video slots with what was asked for (RemoteTrack.setLayer()).
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import { SoriError, SoriEvent, Timers } from './sori_base.js';
import { readRoomStats } from './sori_quality.js';
import { RelayWatch } from './sori_relay.js';

const SLOTS = { audio: 6, video: 6 }; // in the first offer
const SLOTS_STEP = 4;
const SLOTS_MAX = { audio: 16, video: 24 };
const SUBSCRIBE_BATCH_MS = 30;
const HEAL_MS = 2_000; // 'disconnected' before an ICE restart
const HEAL_AGAIN_MS = 4_000;
const HEALS_BEFORE_FRESH = 3;
const REJOIN_MS = [0, 1_000, 2_000, 4_000, 8_000];
const CREDENTIALS_MS = 2_000;
const RENEW_AT = 0.75; // of the relay credentials' life
const RENEW_RETRY_MS = 10_000;
const SUBSCRIBE_MAX = 32; // tracks in one message
const STATS_MS = 2_000;
const HEARD_SAMPLES = 4_800; // 100 ms
const HEARD_POLL_MS = 40;
const DATA_KEPT = 64; // messages that wait for the channel to open
const DATA_BUFFERED_MAX = 1 << 20;
const LAYER = { low: 0, medium: 1, high: 2 };
const CHANNELS = { sori: {}, 'sori-lossy': { ordered: false, maxRetransmits: 0 } };

/** Errors after which the same room can't be had by asking again. */
const FINAL = new Set(['forbidden', 'room.forbidden', 'room.too_many', 'sfu.rejected', 'bad_request',
  'unsupported_type', 'closed']);

/* ---- descriptions -------------------------------------------------------------------------- */

/** The mids of a description's audio and video sections, in their order. */
export function mediaMids(sdp) {
  return sdp.split(/^m=/m).slice(1)
    .filter((section) => /^(audio|video) /.test(section))
    .map((section) => /^a=mid:(\S+)/m.exec(section)?.[1] ?? null);
}

/**
 * What an offer says on the wire beyond what the browser wrote: libwebrtc asks for lost Opus packets
 * again when the answer has `nack`, but never offers it. (The local description stays as it was.)
 */
export function withOpusNack(sdp) {
  return sdp.split(/^(?=m=)/m).map((section) => {
    const opus = section.startsWith('m=audio ') && /^a=rtpmap:(\d+) opus\/48000/im.exec(section);
    if (!opus || new RegExp(`^a=rtcp-fb:${opus[1]} nack\\s*$`, 'm').test(section)) return section;
    return section.replace(opus[0], `a=rtcp-fb:${opus[1]} nack\r\n${opus[0]}`);
  }).join('');
}

const codecName = (codec) => codec.mimeType.split('/')[1].toLowerCase();
const AUDIO_ORDER = ['red', 'opus', 'pcmu', 'pcma', 'telephone-event'];
const VIDEO_ORDER = ['vp8', 'h264', 'vp9', 'av1'];

/** One format of each codec that the SFU forwards, ours first. Browsers list up to sixty in each
 * section, and an offer with a dozen of slots would not fit a message. */
export function chooseCodecs(kind, all, first = null) {
  const order = kind === 'audio' ? AUDIO_ORDER : VIDEO_ORDER;
  const fits = (codec) => {
    const f = codec.sdpFmtpLine ?? '';
    switch (codecName(codec)) {
      case 'h264': return /packetization-mode=1/.test(f) && /profile-level-id=42[ec]0/i.test(f);
      case 'vp9': return !/profile-id=[1-9]/.test(f);
      case 'av1': return !/profile=[1-9]/.test(f);
      case 'telephone-event': return codec.clockRate === 48000;
      default: return true;
    }
  };
  const rank = (codec) => (codecName(codec) === first ? -1 : order.indexOf(codecName(codec)));
  const media = order.map((name) => all.find((codec) => codecName(codec) === name && fits(codec)))
    .filter(Boolean).sort((a, b) => rank(a) - rank(b));
  const repair = kind === 'video' ? all.filter((codec) => codecName(codec) === 'rtx').slice(0, 1) : [];

  return media.length > 0 ? [...media, ...repair] : [];
}

/** Three layers, lowest first: simulcast, or for codecs made for it three spatial layers in one. */
export function cameraEncodings(codec) {
  if (codec === 'vp9' || codec === 'av1') return [{ scalabilityMode: 'L3T3_KEY', maxBitrate: 1_700_000 }];
  return [
    { rid: 'q', scaleResolutionDownBy: 4, maxBitrate: 150_000, scalabilityMode: 'L1T3' },
    { rid: 'h', scaleResolutionDownBy: 2, maxBitrate: 500_000, scalabilityMode: 'L1T3' },
    { rid: 'f', scaleResolutionDownBy: 1, maxBitrate: 1_700_000, scalabilityMode: 'L1T3' },
  ];
}

/* ---- data messages ------------------------------------------------------------------------- */

const utf8 = new TextEncoder();

/** A binary data message to some participants, or to all (`to` empty). */
export function packBinary(bytes, to = []) {
  const ids = to.map((id) => utf8.encode(id));
  const out = new Uint8Array(1 + ids.reduce((n, id) => n + 1 + id.length, 0) + bytes.byteLength);
  let at = 0;

  out[at++] = ids.length;
  for (const id of ids) {
    out[at++] = id.length;
    out.set(id, at);
    at += id.length;
  }
  out.set(bytes, at);
  return out;
}

/** A binary data message as it comes: whose, and what. Null when it is malformed. */
export function unpackBinary(bytes) {
  if (bytes.length < 1 || bytes.length < 1 + bytes[0]) return null;
  const end = 1 + bytes[0];
  return { from: new TextDecoder().decode(bytes.subarray(1, end)), payload: bytes.slice(end) };
}

/* ---- who and what is in the room ----------------------------------------------------------- */

/**
 * A track that somebody else publishes.
 *
 * `stream` is there while the track is on a slot; put it on an element. It may move to another slot
 * (a `media` event tells), so look it up each time.
 */
export class RemoteTrack {
  #room;

  /** @type {string} */
  id;
  /** @type {Participant} */
  participant;
  /** @type {'audio'|'video'} */
  kind;
  /** @type {string} `microphone`, `camera`, `screen`, `screen_audio`, or the publisher's own word */
  source = '';
  /** @type {string} */
  name = '';
  muted = false;
  /** How many simulcast or spatial layers it has. */
  layers = 1;
  /** @type {string|null} section on which it comes */
  mid = null;
  /** What setLayer() asked for. @type {'auto'|'high'|'medium'|'low'|'off'} */
  choice = 'auto';
  /** The layer that is being sent to us: 0 low … 2 high; null when not known. @type {number|null} */
  layer = null;
  /** The server sends nothing of it for now. */
  paused = false;
  /** Why: `bandwidth`, `subscriber`, `source`. @type {string} */
  reason = '';

  /** Not for applications. */
  constructor(room, participant, fields) {
    this.#room = room;
    this.participant = participant;
    this.id = fields.trackId;
    this.kind = fields.kind;
    this._update(fields);
  }

  /** @returns {MediaStream|null} */
  get stream() {
    return this.#room._slot(this.mid)?.stream ?? null;
  }

  /**
   * Says how much of this track we want: a layer, `auto` (what the network carries), or `off`.
   * @param {'auto'|'high'|'medium'|'low'|'off'} choice
   * @param {{priority?: number, temporal?: number}} [o] priority 0 to 255: higher ones get bandwidth
   *     first; temporal: at most so many temporal layers above the base
   */
  setLayer(choice, { priority, temporal } = {}) {
    this.choice = choice;
    this.#room.subscribe([{
      trackId: this.id,
      wanted: choice !== 'off',
      ...(choice !== 'off' && { layer: LAYER[choice] ?? 'auto' }),
      ...(priority !== undefined && { priority }),
      ...(temporal !== undefined && { temporal }),
    }]);
  }

  _update({ source, name, muted, layers }) {
    this.source = source ?? this.source;
    this.name = name ?? this.name;
    this.muted = muted ?? this.muted;
    this.layers = layers ?? this.layers;
  }
}

/** Somebody in the room, perhaps ourselves. */
export class Participant {
  /** @type {string} made by the server for the time in this room */
  id;
  user = '';
  deviceId = '';
  /** @type {string} what to show */
  name = '';
  role = '';
  metadata = null;
  /** @type {string} `connecting`, `connected`, `reconnecting` */
  state = '';
  /** @type {Map<string, RemoteTrack>} by id; empty for ourselves (Room.localTracks) */
  tracks = new Map();
  /** How loud, 0 silent to 1 (amplitude); only while they are among the speakers. */
  level = 0;
  speaking = false;
  /** @type {{score: number, mos: number|null}|null} how good their connection is, score 1 to 5 */
  quality = null;

  /** Not for applications. */
  constructor(id) {
    this.id = id;
  }

  /** @returns {RemoteTrack|null} the first track of a source */
  track(source) {
    for (const track of this.tracks.values()) if (track.source === source) return track;
    return null;
  }

  _update(fields) {
    for (const key of ['user', 'deviceId', 'name', 'role', 'metadata', 'state'])
      if (fields[key] !== undefined) this[key] = fields[key];
    this.name ||= this.user;
  }
}

/** A track that we publish. */
export class LocalTrack {
  /** @type {string} as in RemoteTrack */
  source;
  name = '';
  /** @type {'audio'|'video'} */
  kind;
  /** @type {MediaStreamTrack} */
  track;
  /** @type {MediaStream} with this one track, for a preview */
  stream;
  muted = false;
  /** @type {string|null} its id in the room; null until the server has taken it */
  id = null;
  /** Layers that somebody watches, of the server's last word; null: it said nothing yet.
   * @type {number[]|null} */
  wanted = null;

  /** Not for applications. */
  constructor(fields) {
    Object.assign(this, fields);
  }
}

/* ---- Room ---------------------------------------------------------------------------------- */

/*
 *   joining ──answered──► connecting ──media──► active ◄──► reconnecting      any ──► closed
 *                                                  └─ no media, new session, room.restart ─┘
 *
 * Everything that touches the RTCPeerConnection runs in one chain; only we offer, so there is no
 * glare. A room outlives its RTCPeerConnection: after a lost session or an SFU that went away it
 * joins again with the same tracks, and the participants are compared.
 */

/**
 * A room that we are in. Made by Sori.joinRoom().
 *
 * Events:
 * - `state`: `state` changed: `joining`, `connecting`, `active`, `reconnecting`, `closed`
 * - `participant`: `event` (`joined`, `left`, `updated`, `reconnecting`, `connected`), `participant`,
 *   `reason`
 * - `track`: `event` (`published`, `unpublished`, `muted`, `unmuted`), `participant`, `track`; also for
 *   our own, as LocalTrack (somebody with the right to it muted us)
 * - `media`: what is on which slot changed: look at RemoteTrack.stream and Room.audioSlots
 * - `speakers`: `dominant` (Participant|null), `speakers` (list of Participant, loudest first)
 * - `quality`: Participant.quality changed
 * - `invite`: `user`, `state`: `inviting`, `ringing`, `accepted`, `ended` (`reason` as of calls)
 * - `layers`: `track`: RemoteTrack.layer, paused, reason changed; or LocalTrack.wanted
 * - `data`: `participant` (null when they have left), `from` (their id), `topic`, `payload` (any JSON
 *   value, or Uint8Array), `lossy`
 * - `stats`: `stats`: RoomStats, every two seconds
 * - `closed`: `reason`: `left`, `kicked`, `banned`, `replaced` …; once and last
 */
export class Room extends EventTarget {
  #s; // what Sori lends: env, link, relayOnly(), userId(), userName(), gone()
  #o; // options of joinRoom()
  #timers;
  #chain = Promise.resolve();
  #pc = null;
  #iceServers = [];
  #relay;
  #generation = 0; // of the RTCPeerConnection
  #heals = 0;
  #agains = 0;
  #attempt = 0; // of coming back: only the newest one counts
  #joining = false; // room.join is not answered yet
  #slots = new Map(); // transceiver -> { kind, stream, transceiver, trackId }
  #sections = new Map(); // LocalTrack -> transceiver
  #shapes = new Map(); // transceiver -> what it was made for
  #local = new Set(); // LocalTrack
  #own = new Set(); // MediaStreamTracks that we opened, and stop
  #channels = new Map(); // label -> RTCDataChannel
  #unsent = []; // [label, message]
  #wishes = new Map(); // trackId -> subscription, to be sent
  #offering = null;
  #raw = null;

  /** @type {string} */
  id;
  /** @type {'joining'|'connecting'|'active'|'reconnecting'|'closed'} */
  state = 'joining';
  /** Ourselves. @type {Participant|null} */
  me = null;
  /** Everybody else, by id. @type {Map<string, Participant>} */
  participants = new Map();
  /** What we may: `publish` (true, false or a list of sources), `subscribe`, `data`, `admin` (mute and
   * put out others), `hidden`. @type {object} */
  permissions = {};
  /** `participants`, `tracks`, `slots`, `metadataBytes`. @type {object} */
  limits = {};
  /** People who are being rung into the room: {user, callId, state: `inviting`, `ringing`}.
   * @type {Map<string, {user: string, callId: string, state: string}>} */
  invites = new Map();
  /** @type {Participant[]} who talks, loudest first */
  speakers = [];
  /** @type {Participant|null} */
  dominant = null;
  /** @type {import('./sori_quality.js').RoomStats|null} */
  stats = null;
  /** @type {{reason: string}|null} */
  end = null;
  /** What went wrong last, for the log. @type {Error|null} */
  error = null;

  /** Not for applications. */
  constructor(s, id, options) {
    super();
    this.#s = s;
    this.#timers = new Timers(s.env);
    this.#relay = new RelayWatch(s.env, { servers: () => this.#iceServers, died: () => this.restartIce() });
    this.id = id;
    this.#o = {
      data: true, videoCodec: 'vp8', slots: SLOTS,
      subscribe: { audio: 'auto', video: 'auto' }, ...options,
    };
  }

  /** @returns {LocalTrack[]} what we publish */
  get localTracks() {
    return [...this.#local];
  }

  /** @returns {LocalTrack|null} the first of ours with this source */
  localTrack(source) {
    for (const local of this.#local) if (local.source === source) return local;
    return null;
  }

  /** Each is to be played by an `audio` element of its own, whoever is on it.
   * @returns {{mid: string, stream: MediaStream, track: RemoteTrack|null}[]} */
  get audioSlots() {
    return [...this.#slots.values()].filter((slot) => slot.kind === 'audio' && slot.transceiver.mid)
      .map((slot) => ({
        mid: slot.transceiver.mid, stream: slot.stream, track: this.#remoteTrack(slot.trackId),
      }));
  }

  /* -- our own media -- */

  /**
   * Publishes a track. A camera goes out in three layers unless `simulcast` is false.
   *
   * @param {MediaStreamTrack} track
   * @param {object} [o]
   * @param {string} [o.source] `microphone` or `camera` by the track's kind
   * @param {string} [o.name]
   * @param {boolean} [o.muted]
   * @param {boolean} [o.simulcast] true for a camera
   * @param {string} [o.codec] `vp8`, `vp9`, `h264`, `av1`
   * @param {RTCRtpEncodingParameters[]} [o.encodings] instead of those that the library takes
   * @returns {Promise<LocalTrack>} when the server has taken it
   * @throws {SoriError} `forbidden`, a limit of the room, or `closed`
   */
  async publish(track, o = {}) {
    const local = this.#add(track, o);

    this.#applyMute(local);
    this.#emit('media');
    try {
      await this.#run(() => this.#addSection(local));
      await this.#negotiate();
    } catch (error) {
      this.#forget(local);
      throw error;
    }
    return local;
  }

  /** Stops publishing; the track is stopped when the library opened it. */
  async unpublish(local) {
    const id = local.id;

    if (!this.#local.has(local)) return;
    this.#forget(local);
    const done = id ? this.#request('room.unpublish', { trackId: id })
      : this.#negotiate(); // the offer that has it may be under way
    await done.catch((error) => this.#note(error));
  }

  /**
   * Turns our microphone on (asking for it) or off (releasing it). To be silent for a while use
   * setMuted(): it is quicker, and needs no permission again.
   * @param {boolean} on @param {MediaTrackConstraints|true} [constraints]
   */
  setMicrophone(on, constraints = true) {
    return this.#device(on, 'microphone', () => this.#getUserMedia({ audio: constraints }));
  }

  /** Turns our camera on (asking for it) or off (releasing it: its light goes out). */
  setCamera(on, constraints = true) {
    return this.#device(on, 'camera', () => this.#getUserMedia({ video: cameraConstraints(constraints) }));
  }

  /** Shares a screen, a window or a tab, with its sound where the browser gives it; or stops. */
  async setScreen(on, constraints = { video: true, audio: true }) {
    if (on) {
      await this.#device(true, 'screen', () => this.#s.env.mediaDevices.getDisplayMedia(constraints));
    } else {
      await this.#device(false, 'screen');
      await this.#device(false, 'screen_audio');
    }
  }

  /** @returns {boolean} our microphone is off or muted */
  get muted() {
    return this.localTrack('microphone')?.muted ?? true;
  }

  /** Silences our microphone at once, and tells the others. */
  setMuted(muted) {
    const local = this.localTrack('microphone');
    if (local) this.setTrackMuted(local, muted);
  }

  /** The same for any track of ours. */
  setTrackMuted(local, muted) {
    if (local.muted === muted) return;
    local.muted = muted;
    this.#applyMute(local);
    if (local.id) this.#request('room.mute', { trackId: local.id, muted }).catch((e) => this.#note(e));
    this.#emit('track', { event: muted ? 'muted' : 'unmuted', participant: this.me, track: local });
  }

  /* -- others -- */

  /**
   * Says what we want of which tracks; gathered for a moment. Mostly RemoteTrack.setLayer() is what
   * you need.
   * @param {{trackId: string, wanted: boolean, layer?: number|'auto', temporal?: number,
   *     priority?: number, paused?: boolean, mid?: string}[]} tracks
   */
  subscribe(tracks) {
    for (const wish of tracks) this.#wishes.set(wish.trackId, { ...this.#wishes.get(wish.trackId), ...wish });
    if (!this.#timers.has('subscribe'))
      this.#timers.set('subscribe', SUBSCRIBE_BATCH_MS, () => this.#sendWishes());
  }

  /** Mutes a track of somebody else, where our permissions allow it. They unmute themselves. */
  async muteTrack(track) {
    await this.#request('room.mute', { trackId: track.id, muted: true });
  }

  /** Puts somebody out of the room; `ban`: they may not come back. */
  async kick(participant, { ban = false } = {}) {
    await this.#request('room.kick', { participantId: participant.id, ...(ban && { ban }) });
  }

  /** Changes what others see of us: `metadata` (up to `limits.metadataBytes`), `name`. */
  async update(fields) {
    await this.#request('room.update', fields);
  }

  /** Changes what somebody may (for admins): `role` (`admin`, `member`, `viewer`), `permissions`. */
  async permit(participant, fields) {
    await this.#request('room.update', { participantId: participant.id, ...fields });
  }

  /** Ends the room for everybody (for admins). */
  async close() {
    await this.#request('room.close', {});
  }

  /**
   * Rings people, at most 16: those who take the call come into this room. How it goes on is told by
   * `invite` events.
   *
   * @param {string[]} users
   * @param {{metadata?: {isVideo?: boolean, custom?: object}, ringTimeoutMs?: number}} [o]
   * @returns {Promise<{user: string, code: string}[]>} whom it could not ring, and why
   */
  async invite(users, { metadata, ringTimeoutMs } = {}) {
    const { data } = await this.#request('room.invite', {
      users, ...(metadata && { metadata }), ...(ringTimeoutMs && { ringTimeoutMs }),
    });

    for (const { user, callId } of data.invites ?? []) {
      this.invites.set(callId, { user, callId, state: 'inviting' });
      this.#emit('invite', { user, state: 'inviting' });
    }
    return data.failed ?? [];
  }

  /** Takes an invitation back while it rings. */
  async cancelInvite({ callId }) {
    await this.#s.link.request('call.cancel', { callId });
  }

  /**
   * Sends a message over the data channel; before it is open, up to 64 wait.
   *
   * @param {*} payload any JSON value, or bytes (ArrayBuffer, Uint8Array)
   * @param {object} [o]
   * @param {(Participant|string)[]} [o.to] to whom; everybody by default
   * @param {string} [o.topic] a word that the receiver gets too (not with bytes)
   * @param {boolean} [o.lossy] without order and repetition, for what is soon stale
   * @throws {SoriError} `no_data` (joined without), `busy_link` (too much waits to be sent)
   */
  sendData(payload, { to = [], topic = '', lossy = false } = {}) {
    const label = lossy ? 'sori-lossy' : 'sori';
    const ids = to.map((who) => who.id ?? who);
    const binary = payload instanceof ArrayBuffer || ArrayBuffer.isView(payload);
    const message = binary
      ? packBinary(payload instanceof ArrayBuffer ? new Uint8Array(payload)
        : new Uint8Array(payload.buffer, payload.byteOffset, payload.byteLength), ids)
      : JSON.stringify({ ...(ids.length > 0 && { to: ids }), topic, payload });
    const channel = this.#channels.get(label);

    if (!channel && this.state !== 'reconnecting') throw new SoriError('no_data', 'no data channel');
    if (channel?.readyState === 'open') {
      if (channel.bufferedAmount > DATA_BUFFERED_MAX) throw new SoriError('busy_link');
      channel.send(message);
    } else if (!lossy) {
      if (this.#unsent.length >= DATA_KEPT) throw new SoriError('busy_link');
      this.#unsent.push([label, message]);
    }
  }

  /** Leaves, whatever the state. Takes effect here at once. */
  leave() {
    if (this.state === 'closed') return;
    this.#request('room.leave', {}).catch(() => {});
    this.#finish('left');
  }

  /** Looks for a new way through the network. The library does it by itself when it should. */
  restartIce() {
    if (this.state === 'closed' || !this.#pc || this.#s.link.state !== 'online') return;
    this.#timers.set('heal', HEAL_AGAIN_MS, () => this.#healAgain());
    this.#negotiate({ iceRestart: true }).catch((error) => this.#offerFailed(error));
  }

  /** @returns {Promise<RTCStatsReport|null>} the raw report, for what RoomStats does not have */
  async getStats() {
    return this.#pc ? this.#pc.getStats() : null;
  }

  /** The RTCRtpSender of a track of ours, or the RTCRtpReceiver of somebody's track or of an audio
   * slot: for special statistics, and to know whom an encoded transform (joinRoom()) serves. */
  rtpOf(what) {
    if (what instanceof LocalTrack) return this.#sections.get(what)?.sender ?? null;
    return this._slot(what.mid)?.transceiver.receiver ?? null;
  }

  /* -- what Sori does -- */

  /** Opens microphone and camera. */
  async _open() {
    await this.#openDevices();
  }

  async _join() {
    await this.#run(() => this.#start({ fresh: false }));
  }

  /** A message of the server about this room. */
  _receive({ type, data = {} }) {
    if (this.state === 'closed') return;
    switch (type) {
      case 'room.participant': this.#participantCame(data); break;
      case 'room.track': this.#trackCame(data); break;
      case 'room.slots': this.#slotsCame(data.slots); break;
      case 'room.speakers': this.#speakersCame(data); break;
      case 'room.quality': this.#qualityCame(data); break;
      case 'room.layers': this.#layersCame(data); break;
      case 'room.negotiate': this.#asked(data); break;
      case 'room.restart': this.#restarted(data); break;
      case 'room.state': this.#stateCame(data); break;
      case 'room.closed':
        // Joining takes the place of what this device was before (a reload, a lost session).
        if (!(this.#joining && data.reason === 'replaced')) this.#finish(data.reason ?? 'closed');
        break;
      default:
    }
  }

  /** After a welcome. A new session is in no room: join again. After a resume the server tells all
   * that happened by itself. */
  _welcomed(resumed) {
    if (this.state === 'closed' || this.state === 'joining') return;
    if (!resumed) this.#again('join');
    else if (!this.#isUp() && !this.#timers.has('again')) this.restartIce();
  }

  /** Resolves when sound of the room has been played here, is not to be expected, or after so long. */
  async _heard(ms) {
    const { env } = this.#s;
    const until = env.now() + ms;
    let first = null;

    while (this.state !== 'closed' && env.now() < until) {
      if (!this.#remoteTracks().some((track) => track.kind === 'audio' && !track.muted)) return;
      const played = await this.#played();
      first ??= played;
      if (played - first >= HEARD_SAMPLES) return;
      await new Promise((done) => { env.setTimeout(done, HEARD_POLL_MS); });
    }
  }

  /** Samples that were received, decoded and taken by whoever plays them. */
  async #played() {
    const report = await this.getStats();
    return [...report?.values() ?? []].filter((s) => s.type === 'inbound-rtp' && s.kind === 'audio')
      .reduce((n, s) => n + (s.jitterBufferEmittedCount ?? 0), 0);
  }

  /** A message about a call by which we ring somebody into the room. True when it was one. */
  _inviteCame({ type, callId, data = {} }) {
    const invite = this.invites.get(callId);

    if (!invite) return false;
    if (type === 'call.ringing') invite.state = 'ringing';
    else if (type === 'call.accepted') invite.state = 'accepted';
    else if (type === 'call.ended') this.invites.delete(callId);
    else return true;
    if (type !== 'call.ended') this.#emit('invite', { user: invite.user, state: invite.state });
    else if (data.reason !== 'room_migrated')
      this.#emit('invite', { user: invite.user, state: 'ended', reason: data.reason });
    return true;
  }

  /** This device's network moved. */
  _moved() {
    this.restartIce();
  }

  /** The library stops: nothing is sent any more. */
  _drop(reason) {
    this.#finish(reason);
  }

  /** Not for applications: what is on a section. */
  _slot(mid) {
    if (mid === null) return null;
    for (const slot of this.#slots.values()) if (slot.transceiver.mid === mid) return slot;
    return null;
  }

  /* -- life -- */

  #emit(type, fields) {
    this.dispatchEvent(new SoriEvent(type, { room: this, ...fields }));
  }

  #setState(state) {
    if (this.state === state || this.state === 'closed') return;
    this.state = state;
    this.#emit('state', { state });
  }

  #isUp() {
    return this.#pc?.connectionState === 'connected';
  }

  #note(error) {
    this.error = error;
  }

  #request(type, data) {
    return this.#s.link.request(type, { roomId: this.id, data });
  }

  /** One step of the chain; the steps after it run whether it worked or not. */
  #run(step) {
    const done = this.#chain.then(() => {
      if (this.state === 'closed') throw new SoriError('closed', this.end?.reason);
      return step();
    });

    this.#chain = done.catch(() => {});
    return done;
  }

  #finish(reason) {
    if (this.state === 'closed') return;
    this.end = { reason };
    this.#timers.clearAll();
    this.#closePeer();
    for (const track of this.#own) track.stop();
    this.#own.clear();
    this.state = 'closed';
    this.#s.gone(this);
    this.#emit('state', { state: 'closed' });
    this.#emit('closed', { reason });
  }

  /* -- joining -- */

  /** Joins with a new RTCPeerConnection, or only tells the room about the new one (`fresh`). */
  async #start({ fresh }) {
    this.#makePeer();
    const pc = this.#pc;
    for (const local of this.#local) this.#addSection(local);
    this.#addSlots('audio', this.#o.slots.audio ?? SLOTS.audio);
    this.#addSlots('video', this.#o.slots.video ?? SLOTS.video);
    if (this.#o.data) this.#openChannels();
    if (fresh) await this.#refreshCredentials();
    const offer = await pc.createOffer(); // set on reply, when the ICE servers are known
    const mids = mediaMids(offer.sdp);
    const data = {
      offer: { type: offer.type, sdp: withOpusNack(offer.sdp) },
      tracks: this.#trackList((t) => mids[pc.getTransceivers().indexOf(t)]),
    };
    if (fresh) Object.assign(data, { fresh: true });
    else Object.assign(data, { subscribe: this.#o.subscribe }, this.#o.metadata && { metadata: this.#o.metadata });
    this.#joining = !fresh;
    let reply;
    try {
      reply = await this.#request(fresh ? 'room.offer' : 'room.join', data);
    } finally {
      this.#joining = false;
    }
    if (this.#pc !== pc) return;
    this.#iceServers = reply.data.iceServers ?? this.#iceServers;
    pc.setConfiguration?.(this.#configuration());
    await pc.setLocalDescription(offer);
    await pc.setRemoteDescription(reply.data.answer);
    if (!fresh) this.#joined(reply.data);
    this.#agains = 0;
    this.#nameOwnTracks(reply.data.tracks);
    this.#setState(this.#isUp() ? 'active' : fresh || this.state === 'reconnecting' ? 'reconnecting' : 'connecting');
    this.#slotsCame(reply.data.slots ?? []);
    this.#growIfNeeded();
  }

  #joined({ participantId, permissions, role, room, participants }) {
    this.permissions = permissions ?? {};
    this.limits = room?.limits ?? {};
    this.me = new Participant(participantId);
    this.me._update({ user: this.#s.userId(), name: this.#s.userName(), role });
    this.#everybody(participants ?? []);
  }

  /** The whole list of the others: who is missing in it has left. */
  #everybody(list) {
    const there = new Set(list.map((fields) => fields.participantId));

    for (const who of [...this.participants.values()])
      if (!there.has(who.id)) this.#left(who, 'left');
    this.#alsoHere(list);
  }

  #alsoHere(list) {
    for (const fields of list) {
      const known = this.participants.has(fields.participantId);
      const who = this.#participantOf(fields);
      const now = new Set((fields.tracks ?? []).map((track) => track.trackId));
      for (const track of [...who.tracks.values()]) if (!now.has(track.id)) this.#unpublished(track);
      this.#emit('participant', { event: known ? 'updated' : 'joined', participant: who });
    }
  }

  /** A new RTCPeerConnection (`fresh`), or everything anew (`join`), with the tracks that we have. */
  #again(how) {
    const fresh = how === 'fresh';

    if (this.state === 'closed' || (fresh && this.#timers.has('again'))) return;
    this.#setState('reconnecting');
    const ms = REJOIN_MS[Math.min(this.#agains++, REJOIN_MS.length - 1)];
    const attempt = ++this.#attempt;
    this.#timers.clear('heal');
    this.#timers.set('again', ms * (0.5 + this.#s.env.random() / 2), () => {
      this.#run(() => (attempt === this.#attempt ? this.#start({ fresh }) : undefined)).catch((error) => {
        this.#note(error);
        if (attempt !== this.#attempt) return;
        if (FINAL.has(error.code)) this.#finish(error.details?.reason ?? error.code);
        else this.#again(error.code === 'room.not_found' ? 'join' : how);
      });
    });
  }

  /** The SFU, or what it had of us, is gone. */
  #restarted({ reason }) {
    this.#note(new SoriError('restart', reason));
    if (reason !== 'media_lost') // all tracks of the room come again
      for (const track of this.#remoteTracks()) this.#unpublished(track);
    this.#again('fresh');
  }

  /** After a resume, or when we did not keep up: how things are now. */
  #stateCame({ participants = [], slots, tracks, full }) {
    if (!this.me) return; // of the seat that our join, under way, takes over
    if (full) this.#everybody(participants);
    else this.#alsoHere(participants);
    if (tracks) this.#nameOwnTracks(tracks);
    if (slots) this.#slotsCame(slots);
    this.#growIfNeeded();
  }

  /* -- peer connection -- */

  #configuration() {
    return {
      iceServers: this.#iceServers,
      iceTransportPolicy: this.#s.relayOnly() ? 'relay' : 'all',
      bundlePolicy: 'max-bundle',
      ...this.#o.rtcConfiguration,
    };
  }

  #makePeer() {
    this.#closePeer();
    const pc = new this.#s.env.RTCPeerConnection(this.#configuration());
    this.#pc = pc;
    this.#generation++;
    pc.onconnectionstatechange = () => { if (this.#pc === pc) this.#connectionChanged(); };
  }

  #closePeer() {
    const pc = this.#pc;

    this.#pc = null;
    this.#slots.clear();
    this.#sections.clear();
    this.#shapes.clear();
    this.#raw = null;
    this.#relay.stop();
    for (const local of this.#local) local.id = null;
    for (const channel of this.#channels.values()) channel.onmessage = channel.onopen = null;
    this.#channels.clear();
    this.#timers.clear('stats');
    this.#timers.clear('heal');
    if (!pc) return;
    pc.onconnectionstatechange = null;
    pc.close();
  }

  #connectionChanged() {
    const state = this.#pc.connectionState;

    if (state === 'connected') {
      this.#timers.clear('heal');
      this.#heals = 0;
      this.#setState('active');
      if (this.#iceServers.length > 0 && !this.#timers.has('renew')) this.#refreshCredentials();
      this.#measure();
    } else if (state === 'disconnected' || state === 'failed') {
      if (this.state === 'active') this.#setState('reconnecting');
      this.#timers.set('heal', state === 'failed' ? 0 : HEAL_MS, () => this.#healAgain());
    }
  }

  /** The media is not there: another way, and when that does not help for long, a new start. */
  #healAgain() {
    if (this.#isUp()) return;
    if (this.#s.link.state !== 'online') {
      this.#timers.set('heal', HEAL_AGAIN_MS, () => this.#healAgain()); // _welcomed() is quicker
      return;
    }
    if (++this.#heals > HEALS_BEFORE_FRESH) {
      this.#heals = 0;
      this.#again('fresh');
    } else {
      this.restartIce();
    }
  }

  #offerFailed(error) {
    this.#note(error);
    if (error.code === 'room.not_found') this.#again('join');
    else if (error.code === 'sfu.rejected' || error.code === 'room.invalid_state') this.#again('fresh');
  }

  /** Asks for relay credentials; gives up waiting, not asking, after a while. */
  async #refreshCredentials() {
    if (this.#iceServers.length === 0) return;
    const asked = this.#s.link.request('turn.credentials', {}, { once: true })
      .then(({ data }) => {
        this.#iceServers = this.#relay.order(data.iceServers);
        if (data.ttlMs > 0 && this.state !== 'closed') this.#renewAfter(data.ttlMs * RENEW_AT);
      })
      .catch((error) => this.#note(error)); // go on with what we have
    let timer;

    await Promise.race([asked, new Promise((done) => {
      timer = this.#s.env.setTimeout(done, CREDENTIALS_MS);
    })]);
    this.#s.env.clearTimeout(timer);
  }

  /** A relay takes no refresh with credentials that ended: move to a new allocation before. */
  #renewAfter(ms) {
    this.#timers.set('renew', ms, async () => {
      this.#renewAfter(RENEW_RETRY_MS); // replaced when the server answers
      await this.#refreshCredentials();
      if (this.stats?.path?.local === 'relay') this.restartIce();
    });
  }

  /* -- negotiation -- */

  /** Offers what changed. Several changes at once are one offer. */
  #negotiate({ iceRestart = false } = {}) {
    const generation = this.#generation;
    const next = this.#offering;

    if (next && next.generation === generation) {
      next.iceRestart ||= iceRestart;
      return next.done;
    }
    const offering = { generation, iceRestart, done: null };
    this.#offering = offering;
    offering.done = this.#run(async () => {
      this.#offering = null;
      if (generation !== this.#generation) return; // a new connection has it in its first offer
      await this.#offer(offering.iceRestart);
    });
    return offering.done;
  }

  async #offer(iceRestart) {
    const pc = this.#pc;
    if (iceRestart) {
      await this.#refreshCredentials();
      pc.setConfiguration?.(this.#configuration());
    }
    const offer = await pc.createOffer(iceRestart ? { iceRestart } : undefined);

    await pc.setLocalDescription(offer);
    let reply;
    try {
      reply = await this.#request('room.offer', {
        offer: { type: offer.type, sdp: withOpusNack(offer.sdp) },
        tracks: this.#trackList((t) => t.mid),
      });
    } catch (error) {
      if (this.#pc === pc && pc.signalingState === 'have-local-offer')
        await pc.setLocalDescription({ type: 'rollback' });
      throw error;
    }
    if (this.#pc !== pc) return;
    await pc.setRemoteDescription(reply.data.answer);
    this.#nameOwnTracks(reply.data.tracks);
    if (reply.data.slots) this.#slotsCame(reply.data.slots);
  }

  /** What our sending sections are, for the server. */
  #trackList(midOf) {
    return [...this.#sections].filter(([local]) => this.#local.has(local)).map(([local, transceiver]) => ({
      mid: midOf(transceiver),
      source: local.source,
      ...(local.name && { name: local.name }),
      ...(local.muted && { muted: true }),
    }));
  }

  #nameOwnTracks(tracks) {
    for (const [local, transceiver] of this.#sections) {
      const named = tracks?.find((t) => t.mid === transceiver.mid);
      local.id = named?.trackId ?? `${this.me.id}:${transceiver.mid}`;
    }
  }

  /** The server wants an offer of us. */
  #asked({ reason, need = {} }) {
    if (reason === 'ice_restart') return this.restartIce();
    for (const kind of ['audio', 'video']) this.#addSlots(kind, need[kind] ?? 0);
    return this.#negotiate().catch((error) => this.#offerFailed(error));
  }

  /** More pictures are wanted than there are slots. */
  #growIfNeeded() {
    const wanted = this.#remoteTracks().filter((t) => t.kind === 'video' && t.choice !== 'off').length;
    const have = this.#countSlots('video');

    if (wanted <= have || this.state === 'joining') return;
    const added = this.#addSlots('video', Math.ceil((wanted - have) / SLOTS_STEP) * SLOTS_STEP);
    if (added > 0) this.#negotiate().catch((error) => this.#offerFailed(error));
  }

  #countSlots(kind) {
    return [...this.#slots.values()].filter((slot) => slot.kind === kind).length;
  }

  /** As many more as limits allow; gives how many. */
  #addSlots(kind, n) {
    const free = Math.min(SLOTS_MAX[kind] - this.#countSlots(kind), (this.limits.slots ?? Infinity) - this.#slots.size);

    const added = Math.max(0, Math.min(n, free));

    for (let i = 0; i < added; i++) {
      const transceiver = this.#pc.addTransceiver(kind, { direction: 'recvonly' });
      this.#transform(transceiver.receiver, kind);
      this.#prefer(transceiver, kind);
      const stream = new this.#s.env.MediaStream([transceiver.receiver.track]);
      this.#slots.set(transceiver, { kind, stream, transceiver, trackId: null });
    }
    return added;
  }

  /** Before anything flows: browsers skip a transform that comes later. */
  #transform(rtp, kind) {
    const transform = this.#o.transform?.(rtp, kind);
    if (transform) rtp.transform = transform;
  }

  /** The codecs of a section, ours first. Where the browser can't be told, all stay in. */
  #prefer(transceiver, kind, first = null) {
    const all = this.#s.env.RTCRtpReceiver?.getCapabilities?.(kind)?.codecs ?? [];
    const chosen = chooseCodecs(kind, all, first)
      .filter((codec) => !this.#o.transform || codecName(codec) !== 'red');

    if (chosen.length === 0) return;
    try {
      transceiver.setCodecPreferences?.(chosen);
    } catch (error) { // a browser with own ideas about what is a valid list
      this.#note(error);
    }
  }

  /* -- our media -- */

  async #openDevices() {
    const { audio = true, video = false } = this.#o;
    const isTrack = (what) => typeof what === 'object' && typeof what.kind === 'string';
    const ask = {};

    if (audio && !isTrack(audio)) ask.audio = audio;
    if (video && !isTrack(video)) ask.video = cameraConstraints(video);
    for (const given of [audio, video].filter(isTrack)) {
      if (this.#o.ownTracks) this.#own.add(given);
      this.#applyMute(this.#add(given, { muted: given.kind === 'audio' && this.#o.muted }));
    }
    if (!ask.audio && !ask.video) return;
    const stream = await this.#getUserMedia(ask);
    if (this.state === 'closed') {
      for (const track of stream.getTracks()) track.stop();
      throw new SoriError('closed');
    }
    for (const track of stream.getTracks()) {
      this.#own.add(track);
      this.#applyMute(this.#add(track, { muted: track.kind === 'audio' && this.#o.muted }));
    }
  }

  #getUserMedia(constraints) {
    const devices = this.#s.env.mediaDevices;
    if (!devices) throw new SoriError('no_media', 'needs https or localhost');
    return devices.getUserMedia(constraints);
  }

  async #device(on, source, open) {
    const local = this.localTrack(source);

    if (on === Boolean(local)) return;
    if (!on) {
      await this.unpublish(local);
      return;
    }
    const stream = await open();
    const tracks = stream.getTracks();
    if (this.state === 'closed' || this.localTrack(source)) {
      for (const track of tracks) track.stop();
      return;
    }
    for (const track of tracks) {
      this.#own.add(track);
      track.onended = () => { // the browser's own "stop sharing", or a device that was pulled out
        const ended = this.localTracks.find((l) => l.track === track);
        if (ended) this.unpublish(ended);
      };
    }
    const sourceOf = (track) => (source === 'screen' && track.kind === 'audio' ? 'screen_audio' : source);
    await Promise.all(tracks.map((track) => this.publish(track, { source: sourceOf(track) })));
  }

  #add(track, o) {
    const source = o.source ?? (track.kind === 'audio' ? 'microphone' : 'camera');
    const local = new LocalTrack({
      source,
      name: o.name ?? '',
      kind: track.kind,
      track,
      stream: new this.#s.env.MediaStream([track]),
      muted: o.muted === true,
      _codec: o.codec ?? this.#o.videoCodec,
      _encodings: o.encodings ?? null,
      _simulcast: o.simulcast ?? (source === 'camera' && this.#o.simulcast !== false),
    });

    this.#local.add(local);
    return local;
  }

  /** It is ours no more; its section is free for another track. */
  #forget(local) {
    const transceiver = this.#sections.get(local);

    this.#local.delete(local);
    this.#sections.delete(local);
    if (this.#own.delete(local.track)) local.track.stop();
    if (transceiver) {
      transceiver.direction = 'inactive';
      transceiver.sender.replaceTrack(null).catch(() => {});
    }
    this.#emit('media');
    this.#emit('track', { event: 'unpublished', participant: this.me, track: local });
  }

  #applyMute(local) {
    local.track.enabled = !local.muted;
  }

  /** Gives a track a section: one that is free and made alike, or a new one. */
  #addSection(local) {
    const encodings = local.kind !== 'video' ? null
      : local._encodings ?? (local._simulcast ? cameraEncodings(local._codec) : null);
    const shape = `${local.kind} ${local._codec} ${JSON.stringify(encodings)}`;
    const used = new Set(this.#sections.values());
    const idle = this.#pc.getTransceivers().find((t) => this.#shapes.get(t) === shape && !used.has(t));

    if (local.kind === 'video' && 'contentHint' in local.track && local.source === 'screen')
      local.track.contentHint ||= 'detail';
    if (idle) {
      idle.direction = 'sendonly';
      idle.sender.replaceTrack(local.track).catch((error) => this.#note(error));
      this.#sections.set(local, idle);
      return;
    }
    const transceiver = this.#newSender(local.track, local.stream, encodings);
    this.#transform(transceiver.sender, local.kind);
    this.#shapes.set(transceiver, shape);
    this.#prefer(transceiver, local.kind, local.kind === 'video' ? local._codec : null);
    this.#sections.set(local, transceiver);
  }

  #newSender(track, stream, encodings) {
    const make = (sendEncodings) => this.#pc.addTransceiver(track, {
      direction: 'sendonly', streams: [stream], ...(sendEncodings && { sendEncodings }),
    });

    try {
      return make(encodings);
    } catch (error) {
      if (!encodings) throw error;
      return make(encodings.map(({ scalabilityMode, ...rest }) => rest)); // not known to this browser
    }
  }

  /** Encodes only what somebody watches. */
  #applyWanted(local) {
    this.#run(async () => {
      const sender = this.#sections.get(local)?.sender;
      const parameters = sender?.getParameters?.();
      if (!parameters?.encodings?.length) return;
      const one = parameters.encodings.length === 1;
      let changed = false;
      parameters.encodings.forEach((encoding, i) => {
        const active = one ? local.wanted.length > 0 : local.wanted.includes(i);
        changed ||= encoding.active !== active;
        encoding.active = active;
      });
      if (changed) await sender.setParameters(parameters);
    }).catch((error) => this.#note(error));
  }

  /* -- what the server tells -- */

  #remoteTracks() {
    return [...this.participants.values()].flatMap((who) => [...who.tracks.values()]);
  }

  #remoteTrack(id) {
    if (!id) return null;
    for (const who of this.participants.values()) if (who.tracks.has(id)) return who.tracks.get(id);
    return null;
  }

  #participantOf(fields) {
    const id = fields.participantId;
    const mine = id === this.me?.id;
    const who = mine ? this.me : this.participants.get(id) ?? new Participant(id);

    who._update(fields);
    if (mine) return who;
    this.participants.set(id, who);
    for (const track of fields.tracks ?? []) this.#trackOf(who, track);
    return who;
  }

  #trackOf(who, fields) {
    const track = who.tracks.get(fields.trackId);

    if (track) track._update(fields);
    else who.tracks.set(fields.trackId, new RemoteTrack(this, who, fields));
    return who.tracks.get(fields.trackId);
  }

  #participantCame({ event, participant: fields = {}, reason }) {
    if (fields.participantId === this.me?.id && fields.permissions) this.permissions = fields.permissions;
    if (event === 'left') {
      const who = this.participants.get(fields.participantId);
      if (who) this.#left(who, reason);
      return;
    }
    const participant = this.#participantOf(fields);
    this.#assignSlots(); // the slots may have been told before
    this.#growIfNeeded();
    this.#emit('participant', { event, participant, reason });
  }

  #left(who, reason) {
    this.participants.delete(who.id);
    this.speakers = this.speakers.filter((s) => s !== who);
    if (this.dominant === who) this.dominant = null;
    this.#emit('participant', { event: 'left', participant: who, reason });
  }

  #unpublished(track) {
    track.participant.tracks.delete(track.id);
    track.mid = null;
    this.#emit('track', { event: 'unpublished', participant: track.participant, track });
  }

  #trackCame({ event, participantId, track: fields = {}, by }) {
    if (participantId === this.me?.id) {
      this.#ownTrackCame(event, fields, by);
      return;
    }
    const who = this.participants.get(participantId);
    if (!who) return;
    if (event === 'unpublished') {
      const gone = who.tracks.get(fields.trackId);
      if (gone) this.#unpublished(gone);
      return;
    }
    const track = this.#trackOf(who, fields);
    if (event === 'muted' || event === 'unmuted') track.muted = event === 'muted';
    this.#assignSlots(); // the slot may have been told before the track
    this.#growIfNeeded();
    this.#emit('track', { event, participant: who, track, by: this.participants.get(by) ?? null });
  }

  /** Somebody with the right to it muted us, or took our track away. */
  #ownTrackCame(event, { trackId }, by) {
    const local = this.localTracks.find((l) => l.id === trackId);

    if (!local) return;
    if (event === 'unpublished') {
      this.#forget(local);
    } else if (event === 'muted' && !local.muted) {
      local.muted = true;
      this.#applyMute(local);
      this.#emit('track', {
        event, participant: this.me, track: local, by: this.participants.get(by) ?? null,
      });
    }
  }

  /** All slots as they are now. */
  #slotsCame(slots) {
    for (const slot of this.#slots.values()) Object.assign(slot, { trackId: null, sent: null });
    for (const { mid, trackId, layer, paused, reason } of slots) {
      const slot = this._slot(mid);
      if (!slot) continue;
      slot.trackId = trackId || null;
      if (trackId && paused !== undefined) slot.sent = { layer: layer ?? null, paused, reason: reason ?? '' };
    }
    this.#assignSlots();
    this.#emit('media');
  }

  #assignSlots() {
    for (const track of this.#remoteTracks()) track.mid = null;
    for (const slot of this.#slots.values()) {
      const track = this.#remoteTrack(slot.trackId);
      if (track) Object.assign(track, { mid: slot.transceiver.mid }, slot.sent);
    }
  }

  #speakersCame({ dominant, speakers = [] }) {
    const who = (id) => (id === this.me?.id ? this.me : this.participants.get(id) ?? null);

    for (const p of [this.me, ...this.participants.values()]) if (p) Object.assign(p, { speaking: false, level: 0 });
    this.speakers = [];
    for (const { participantId, level } of speakers) {
      const p = who(participantId);
      if (!p) continue;
      Object.assign(p, { speaking: true, level: 10 ** (-(level ?? 0) / 20) }); // from -dBov
      this.speakers.push(p);
    }
    this.dominant = dominant ? who(dominant) : null;
    this.#emit('speakers', { dominant: this.dominant, speakers: this.speakers });
  }

  #qualityCame({ participants = [] }) {
    for (const { participantId, score, mos } of participants) {
      const p = participantId === this.me?.id ? this.me : this.participants.get(participantId);
      if (p) p.quality = { score, mos: mos ?? null };
    }
    this.#emit('quality');
  }

  #layersCame({ trackId, wanted, mid = null, layer, paused, reason }) {
    if (Array.isArray(wanted)) {
      const local = this.localTracks.find((l) => l.id === trackId);
      if (!local) return;
      local.wanted = wanted;
      this.#applyWanted(local);
      this.#emit('layers', { track: local });
      return;
    }
    const slot = this._slot(mid);
    if (!slot) return;
    slot.sent = { layer: layer ?? null, paused: paused === true, reason: reason ?? '' };
    const track = this.#remoteTrack(slot.trackId);
    if (!track) return; // told when it is known
    Object.assign(track, slot.sent);
    this.#emit('layers', { track });
  }

  async #sendWishes() {
    const wishes = [...this.#wishes.values()].filter((wish) => this.#remoteTrack(wish.trackId));

    this.#wishes.clear();
    this.#growIfNeeded();
    while (wishes.length > 0)
      try {
        const { data } = await this.#request('room.subscribe', { tracks: wishes.splice(0, SUBSCRIBE_MAX) });
        if (data.slots) this.#slotsCame(data.slots);
      } catch (error) { // the track went meanwhile, or there is no slot left
        this.#note(error);
      }
  }

  /* -- data -- */

  #openChannels() {
    for (const [label, how] of Object.entries(CHANNELS)) {
      const channel = this.#pc.createDataChannel(label, how);
      channel.binaryType = 'arraybuffer';
      channel.onopen = () => this.#flush(label, channel);
      channel.onmessage = (event) => this.#dataCame(event.data, label === 'sori-lossy');
      this.#channels.set(label, channel);
    }
  }

  #flush(label, channel) {
    const mine = this.#unsent.filter(([l]) => l === label);

    this.#unsent = this.#unsent.filter(([l]) => l !== label);
    for (const [, message] of mine) channel.send(message);
  }

  #dataCame(data, lossy) {
    let message;

    if (typeof data === 'string') {
      try {
        message = JSON.parse(data);
      } catch {
        return;
      }
    } else {
      message = unpackBinary(new Uint8Array(data));
    }
    if (!message?.from) return;
    const participant = this.participants.get(message.from) ?? null;
    this.#emit('data', {
      from: message.from, participant, topic: message.topic ?? '', payload: message.payload, lossy,
    });
  }

  /* -- quality -- */

  #measure() {
    this.#timers.set('stats', STATS_MS, () => this.#measure());
    const pc = this.#pc;
    pc.getStats().then((report) => {
      if (this.#pc !== pc) return;
      const { sample, raw } = readRoomStats(report, this.#raw);
      this.#raw = raw;
      this.stats = sample;
      this.#emit('stats', { stats: sample });
      this.#relay.take(pc, report);
    }).catch(() => {});
  }
}

function cameraConstraints(constraints) {
  if (constraints !== true) return constraints;
  return { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };
}

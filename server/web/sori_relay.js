/**
 * Sees that a TURN relay has died sooner than the browser does, which doubts a way only after 2.5 s without
 * an answer and leaves it one second later.
 *
 * While media goes through a relay of ours, its silence is watched. When it lasts longer than this media's
 * pauses do, all relays are asked for an allocation by a connection of its own. If others answer and ours does
 * not, it is dead: it goes to the end of the list, and ICE is to be restarted at once. The place in the list is a
 * relay's priority, and among pairs of the same priority the browser takes the newer ones.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import { selectedPair } from './sori_quality.js';

const LOOK_MS = 200;
const SILENT_MS = 800; // at least; media that pauses is given three of its longest pauses
const PAUSES = 3;
const FORGET = 0.98; // of the longest pause, with each look: half of it in seven seconds
const ANSWER_MS = 500; // a relay has to answer: two tries of STUN
const AGAIN_MS = 5_000; // between two questions
const DEAD_MS = 60_000; // so long it stays at the end

/** "turn:host" and "turn:host:3478?transport=udp" are one relay. */
export function relayKey(url) {
  const [, scheme, host, port, transport] = /^(turns?):(\[[^\]]*\]|[^:?]*)(?::(\d+))?(?:\?transport=(\w+))?$/i
    .exec(url ?? '') ?? [];

  if (!scheme) return null;
  const tls = scheme.toLowerCase() === 'turns';
  return [tls ? 'turns' : 'turn', host.toLowerCase(), port ?? (tls ? 5349 : 3478),
    (transport ?? (tls ? 'tcp' : 'udp')).toLowerCase()].join(' ');
}

export class RelayWatch {
  #env;
  #o;
  #pc = null;
  #timer = null;
  #bytes = 0;
  #heardAt = 0;
  #pause = 0;
  #askedAt = -Infinity;
  #dead = new Map(); // relayKey -> until when

  /**
   * @param {object} env RTCPeerConnection, setTimeout, clearTimeout, now
   * @param {{servers: () => RTCIceServer[], died: () => void}} o
   *     died: the relay is dead; order() has it at the end
   */
  constructor(env, o) {
    this.#env = env;
    this.#o = o;
  }

  /** Now and then, with what getStats() gave: begins to look closely when a relay of ours is used. */
  take(pc, report) {
    if (this.#timer !== null || !usedRelay(report)) return;
    this.#pc = pc;
    this.#bytes = -1;
    this.#pause = 0;
    this.#heardAt = this.#env.now();
    this.#next();
  }

  /** The list, with relays that were found dead at its end. */
  order(iceServers) {
    const now = this.#env.now();

    for (const [key, until] of this.#dead) if (until <= now) this.#dead.delete(key);
    if (this.#dead.size === 0) return iceServers;
    const isDead = ({ urls }) => this.#dead.has(relayKey(urls));
    const single = iceServers.flatMap((server) => [server.urls].flat().map((urls) => ({ ...server, urls })));
    return [...single.filter((server) => !isDead(server)), ...single.filter(isDead)];
  }

  stop() {
    this.#pc = null;
    if (this.#timer !== null) this.#env.clearTimeout(this.#timer);
    this.#timer = null;
  }

  #next() {
    this.#timer = this.#env.setTimeout(() => this.#look(this.#pc), LOOK_MS);
  }

  async #look(pc) {
    let used = null;

    try {
      used = usedRelay(await pc.getStats());
    } catch { /* closed meanwhile */ }
    if (this.#pc !== pc) return;
    if (!used) return this.stop(); // take() begins again
    const dead = this.#silent(used.bytes) && await this.#isDead(used.key);
    if (this.#pc !== pc) return;
    if (!dead) return this.#next();
    this.stop();
    this.#dead.set(used.key, this.#env.now() + DEAD_MS);
    this.#o.died();
  }

  /** True when nothing came for suspiciously long, and it was not asked about just now. */
  #silent(bytes) {
    const now = this.#env.now();

    this.#pause *= FORGET;
    if (bytes !== this.#bytes) {
      if (this.#bytes >= 0) this.#pause = Math.max(this.#pause, now - this.#heardAt);
      this.#bytes = bytes;
      this.#heardAt = now;
      return false;
    }
    return now - this.#heardAt >= Math.max(SILENT_MS, PAUSES * this.#pause) && now - this.#askedAt >= AGAIN_MS;
  }

  /** True when others answer and this one does not. */
  async #isDead(key) {
    const servers = this.#o.servers();

    this.#askedAt = this.#env.now();
    if (!servers.some(({ urls }) => [urls].flat().some((url) => relayKey(url) !== key && relayKey(url)))) return false;
    const answered = await this.#whoAnswers(servers, key);
    return answered.size > 0 && !answered.has(key);
  }

  /** Keys of the relays that gave us an allocation; ends early when the one in question did. */
  async #whoAnswers(iceServers, key) {
    const pc = new this.#env.RTCPeerConnection({ iceServers, iceTransportPolicy: 'relay' });
    const answered = new Set();

    try {
      pc.createDataChannel('');
      await new Promise((done) => {
        const timer = this.#env.setTimeout(done, ANSWER_MS);
        pc.onicecandidate = async () => {
          for (const s of (await pc.getStats()).values())
            if (s.type === 'local-candidate' && s.candidateType === 'relay' && s.url) answered.add(relayKey(s.url));
          if (!answered.has(key)) return;
          this.#env.clearTimeout(timer);
          done();
        };
        pc.createOffer().then((offer) => pc.setLocalDescription(offer)).catch(done);
      });
    } finally {
      pc.onicecandidate = null;
      pc.close();
    }
    return answered;
  }
}

/** The relay of ours that the selected pair goes through, and what came through it; null without one. */
function usedRelay(report) {
  const stats = [...report.values()];
  const pair = selectedPair(stats);
  const local = stats.find((s) => s.id === pair?.localCandidateId);
  const key = local?.candidateType === 'relay' ? relayKey(local.url) : null;

  return key === null ? null : { key, bytes: pair.bytesReceived ?? 0 };
}

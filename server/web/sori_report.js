/**
 * What a call tells the server about its quality (docs/SIGNALING.md §5, call.quality).
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import { pathOf, selectedPair } from './sori_quality.js';

const FIRST_MS = 2000; // the way of the media is known by then
const REPORT_MS = 10_000;
const LONGEST_MS = 60_000;
const SILENT_MS = 2000;
// Of RTCIceCandidateStats.networkType and of navigator.connection.type; "none" and "unknown" tell nothing.
const OF_NETWORK = {
  wifi: 'wifi', cellular: 'cellular', ethernet: 'ethernet', vpn: 'vpn', bluetooth: 'other', wimax: 'other', other: 'other',
};

const whole = (x) => (Number.isFinite(x) && x >= 0 ? Math.round(x) : null);

/** "minptime=10;useinbandfec=1" as an object. */
function fmtp(line = '') {
  return Object.fromEntries(line.split(';').map((part) => part.trim().split('=')));
}

/** The counters of a moment, from getStats(). */
function countersOf(report, at) {
  const stats = [...report.values()];
  const of = (type) => stats.find((s) => s.type === type && (s.kind ?? s.mediaType) === 'audio');
  const heard = of('inbound-rtp');
  const sent = of('outbound-rtp');
  const pair = selectedPair(stats);

  return {
    at,
    stats,
    pair,
    path: pathOf(stats, pair),
    codec: stats.find((s) => s.id === heard?.codecId),
    rtt: pair?.currentRoundTripTime ?? of('remote-inbound-rtp')?.roundTripTime,
    jitter: heard?.jitter,
    received: heard?.packetsReceived ?? 0,
    lost: Math.max(0, heard?.packetsLost ?? 0),
    sent: sent?.packetsSent ?? 0,
    samples: heard?.totalSamplesReceived ?? 0,
    concealed: Math.max(0, (heard?.concealedSamples ?? 0) - (heard?.silentConcealedSamples ?? 0)),
    concealments: heard?.concealmentEvents ?? 0,
    buffer: heard?.jitterBufferDelay ?? 0,
    emitted: heard?.jitterBufferEmittedCount ?? 0,
    bytesIn: heard?.bytesReceived ?? 0,
    bytesOut: sent?.bytesSent ?? 0,
  };
}

/** The `data` of one report: what happened from one moment to another. */
export function reportOf(from, to, { silenceMs = 0, final = false } = {}) {
  const ms = Math.max(1, Math.round(to.at - from.at));
  const since = (field) => Math.max(0, to[field] - from[field]);
  const bps = (field) => whole((since(field) * 8000) / ms);
  const emitted = since('emitted');
  const local = to.stats.find((s) => s.id === to.pair?.localCandidateId);
  const words = fmtp(to.codec?.sdpFmtpLine);

  return {
    final,
    intervalMs: ms,
    rttMs: whole(to.rtt * 1000),
    jitterMs: whole(to.jitter * 1000),
    bufferMs: emitted > 0 ? whole((since('buffer') / emitted) * 1000) : null,
    received: since('received'),
    lost: since('lost'),
    sent: since('sent'),
    samples: since('samples'),
    concealed: Math.min(since('concealed'), since('samples')),
    concealments: since('concealments'),
    silenceMs: Math.min(silenceMs, ms),
    inBps: bps('bytesIn'),
    outBps: bps('bytesOut'),
    codec: to.codec?.mimeType?.split('/')[1].toLowerCase() ?? null,
    maxBps: whole(Number(words.maxaveragebitrate)) || null,
    fec: words.useinbandfec === '1',
    dtx: words.usedtx === '1',
    local: to.path?.local ?? null,
    remote: to.path?.remote ?? null,
    relay: local?.relayProtocol || null,
    network: OF_NETWORK[local?.networkType] ?? OF_NETWORK[globalThis.navigator?.connection?.type] ?? null,
  };
}

/** Watches one call's connection and says when there is something to report. */
export class QualityReporter {
  #send;
  #from = null; // where the interval began
  #last = null;
  #sentOne = false;
  #lastPacketAt = null;
  #silenceMs = 0;
  #over = false;

  /** @param {(data: object) => boolean} send false: not now, the interval goes on */
  constructor(send) {
    this.#send = send;
  }

  /** Once a second. `expected`: something ought to be heard, nobody is muted or on hold. */
  take(report, now, expected) {
    const to = countersOf(report, now);

    if (this.#over) return;
    // A new connection (a reload of the peer) starts its counters over.
    if (this.#last && (to.received < this.#last.received || to.samples < this.#last.samples)) this.restart();
    if (!this.#from) {
      this.#from = this.#last = to;
      this.#lastPacketAt = now;
      return;
    }
    this.#hear(to, expected);
    this.#last = to;
    if (to.at - this.#from.at >= (this.#sentOne ? REPORT_MS : FIRST_MS)) this.#report(false);
  }

  /** The connection is gone, or another one. */
  restart() {
    this.#from = this.#last = null;
    this.#silenceMs = 0;
  }

  /** The call is over: what is left is the last report. */
  end() {
    if (!this.#over && this.#from) this.#report(true);
    this.#over = true;
  }

  #hear(to, expected) {
    if (to.received > this.#last.received || !expected) this.#lastPacketAt = to.at;
    const before = Math.max(0, this.#last.at - this.#lastPacketAt - SILENT_MS);
    const silent = Math.max(0, to.at - this.#lastPacketAt - SILENT_MS);
    this.#silenceMs += silent > 0 ? Math.round(silent - before) : 0;
  }

  #report(final) {
    const data = reportOf(this.#from, this.#last, { silenceMs: this.#silenceMs, final });

    if (data.intervalMs > LONGEST_MS) data.intervalMs = LONGEST_MS; // it was offline: the rates stay true
    if (!this.#send(data)) return;
    this.#sentOne = true;
    this.#from = this.#last;
    this.#silenceMs = 0;
  }
}

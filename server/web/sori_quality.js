/**
 * How good a connection is: RTCStatsReport boiled down to a few figures, and the E-model.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

/**
 * Estimates listening and conversational quality with the E-model, simplified (ITU-T G.107):
 *
 *     R = 93.2 - Id - Ie,eff          MOS = 1 + 0.035 R + R (R - 60) (100 - R) 7e-6
 *
 * Id is G.107's delay term for one-way delay Ta = RTT/2 + jitter buffer + 26.5 ms (Opus frame and
 * look-ahead), without echo. Ie,eff = 95 P / (P + 10) for P percent of packets lost at random: an
 * Opus-like codec without impairment of its own that conceals losses (Bpl 10). An estimate for
 * comparing connections; never below 1 nor above 4.5.
 *
 * @param {{rttMs?: number, lossPct?: number, jitterBufferMs?: number}} q missing or bad values: 0
 * @returns {{r: number, mos: number}}
 */
export function estimateMos({ rttMs, lossPct, jitterBufferMs } = {}) {
  const sane = (x, max) => (Number.isFinite(x) ? Math.min(Math.max(x, 0), max) : 0);
  const ta = sane(rttMs, 60_000) / 2 + sane(jitterBufferMs, 60_000) + 26.5;
  const p = sane(lossPct, 100);
  const x = Math.log2(ta / 100);
  const id = ta <= 100 ? 0
    : 25 * ((1 + x ** 6) ** (1 / 6) - 3 * (1 + (x / 3) ** 6) ** (1 / 6) + 2);
  const r = 93.2 - id - (95 * p) / (p + 10);

  if (r <= 0) return { r, mos: 1 };
  return { r, mos: Math.min(4.5, Math.max(1, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6)) };
}

/**
 * @typedef {object} CallStats one second of a call
 * @property {{type: string, local: string, remote: string, protocol: string}|null} path candidate
 *     types of the selected pair, `host`, `srflx`, `prflx` or `relay`; `type` is the farthest of both
 * @property {number|null} rttMs round trip on that pair, ms
 * @property {number|null} lossPct audio packets that did not arrive in the last second, percent
 * @property {number|null} lossTotalPct the same since the call began
 * @property {number|null} jitterMs interarrival jitter of the audio (RFC 3550), ms
 * @property {number|null} jitterBufferMs mean time in the jitter buffer, last second, ms
 * @property {number|null} mos estimateMos() of the above, 1 to 4.5; null while nothing arrives
 * @property {{kbps: number, packets: number, level: number|null, energy: number|null}} in all that
 *     arrives; level 0 to 1 and energy are of the audio
 * @property {{kbps: number, packets: number, level: number|null}} out all that is sent
 */

const FARTHER = ['host', 'prflx', 'srflx', 'relay'];

export function selectedPair(stats) {
  for (const s of stats)
    if (s.type === 'transport' && s.selectedCandidatePairId)
      return stats.find((p) => p.id === s.selectedCandidatePairId) ?? null;
  return stats.find((s) => s.type === 'candidate-pair'
    && (s.selected ?? (s.nominated && s.state === 'succeeded'))) ?? null; // Firefox has no such id
}

export function pathOf(stats, pair) {
  const local = stats.find((s) => s.id === pair?.localCandidateId);
  const remote = stats.find((s) => s.id === pair?.remoteCandidateId);

  if (!local || !remote) return null;
  const type = FARTHER[Math.max(FARTHER.indexOf(local.candidateType),
    FARTHER.indexOf(remote.candidateType))] ?? 'host';
  return {
    type,
    local: local.candidateType,
    remote: remote.candidateType,
    protocol: local.relayProtocol || local.protocol || 'udp',
  };
}

/** Boils an RTCStatsReport down to CallStats. `before` is the `raw` of the last result, or null. */
export function readStats(report, before) {
  const stats = [...report.values()];
  const sum = (type, field) => stats.reduce((n, s) => n + (s.type === type ? s[field] ?? 0 : 0), 0);
  const audio = (type) => stats.find((s) => s.type === type && (s.kind ?? s.mediaType) === 'audio');
  const heard = audio('inbound-rtp');
  const pair = selectedPair(stats);
  const rtt = pair?.currentRoundTripTime ?? audio('remote-inbound-rtp')?.roundTripTime;
  const raw = {
    at: pair?.timestamp ?? heard?.timestamp ?? 0,
    bytesIn: sum('inbound-rtp', 'bytesReceived'),
    bytesOut: sum('outbound-rtp', 'bytesSent'),
    got: heard?.packetsReceived ?? 0,
    lost: heard?.packetsLost ?? 0,
    bufferS: heard?.jitterBufferDelay ?? 0,
    emitted: heard?.jitterBufferEmittedCount ?? 0,
  };
  // A new connection (reload of the peer) starts its counters over.
  const last = before && raw.got >= before.got && raw.at > before.at ? before : { ...raw };
  const got = raw.got - last.got;
  const lost = Math.max(0, raw.lost - last.lost);
  const emitted = raw.emitted - last.emitted;
  const ms = (s) => (Number.isFinite(s) ? s * 1000 : null);
  const kbps = (bytes) => (raw.at > last.at ? (Math.max(0, bytes) * 8) / (raw.at - last.at) : 0);
  const pct = (part, whole) => (whole > 0 ? (100 * part) / whole : null);
  const sample = {
    path: pathOf(stats, pair),
    rttMs: ms(rtt),
    lossPct: pct(lost, got + lost),
    lossTotalPct: pct(Math.max(0, raw.lost), raw.got + Math.max(0, raw.lost)),
    jitterMs: ms(heard?.jitter),
    jitterBufferMs: emitted > 0 ? ((raw.bufferS - last.bufferS) / emitted) * 1000 : null,
    in: {
      kbps: kbps(raw.bytesIn - last.bytesIn),
      packets: sum('inbound-rtp', 'packetsReceived'),
      level: heard?.audioLevel ?? null,
      energy: heard?.totalAudioEnergy ?? null,
    },
    out: {
      kbps: kbps(raw.bytesOut - last.bytesOut),
      packets: sum('outbound-rtp', 'packetsSent'),
      level: audio('media-source')?.audioLevel ?? null,
    },
  };
  sample.mos = got > 0 ? estimateMos(sample).mos : null;
  return { sample, raw };
}

/**
 * @typedef {object} RoomStats two seconds of a room
 * @property {CallStats['path']} path
 * @property {number|null} rttMs
 * @property {number|null} availableOutKbps what the browser thinks that it may send
 * @property {{kbps: number}} in
 * @property {{kbps: number}} out
 * @property {Map<string, object>} received by mid: {kind, kbps, lossPct, jitterMs, jitterBufferMs,
 *     concealedPct, level, energy, packets, width, height, fps, frames, freezes, codec}
 * @property {{mid: string, rid: string, kind: string, kbps: number, width: number|null,
 *     height: number|null, fps: number|null, limit: string, codec: string, packets: number}[]} sent
 *     one per layer; limit: `none`, `cpu`, `bandwidth`
 */

/** Boils an RTCStatsReport down to RoomStats. `before` is the `raw` of the last result, or null. */
export function readRoomStats(report, before) {
  const stats = [...report.values()];
  const byId = new Map(stats.map((s) => [s.id, s]));
  const pair = selectedPair(stats);
  const raw = new Map();
  const received = new Map();
  const sent = [];
  const codecOf = (s) => byId.get(s.codecId)?.mimeType?.split('/')[1].toLowerCase() ?? '';
  const pct = (part, whole) => (whole > 0 ? (100 * Math.max(0, part)) / whole : null);
  const since = (s) => { // growth of a counter since the last time
    const last = before?.get(s.id);
    raw.set(s.id, s);
    return (field) => (last ? Math.max(0, (s[field] ?? 0) - (last[field] ?? 0)) : 0);
  };
  const kbps = (s, bytes) => {
    const ms = before?.has(s.id) ? s.timestamp - before.get(s.id).timestamp : 0;
    return ms > 0 ? (bytes * 8) / ms : 0;
  };

  for (const s of stats) {
    if (s.type === 'inbound-rtp') {
      const grown = since(s);
      const emitted = grown('jitterBufferEmittedCount');
      received.set(s.mid ?? s.id, {
        kind: s.kind,
        kbps: kbps(s, grown('bytesReceived')),
        packets: s.packetsReceived ?? 0,
        lossPct: pct(grown('packetsLost'), grown('packetsReceived') + grown('packetsLost')),
        jitterMs: Number.isFinite(s.jitter) ? s.jitter * 1000 : null,
        jitterBufferMs: emitted > 0 ? (grown('jitterBufferDelay') / emitted) * 1000 : null,
        concealedPct: pct(grown('concealedSamples') - grown('silentConcealedSamples'), grown('totalSamplesReceived')),
        level: s.audioLevel ?? null,
        energy: s.totalAudioEnergy ?? null,
        width: s.frameWidth ?? null,
        height: s.frameHeight ?? null,
        fps: s.framesPerSecond ?? null,
        frames: s.framesDecoded ?? 0,
        freezes: s.freezeCount ?? 0,
        codec: codecOf(s),
      });
    } else if (s.type === 'outbound-rtp') {
      const grown = since(s);
      sent.push({
        mid: s.mid ?? '',
        rid: s.rid ?? '',
        kind: s.kind,
        kbps: kbps(s, grown('bytesSent')),
        packets: s.packetsSent ?? 0,
        width: s.frameWidth ?? null,
        height: s.frameHeight ?? null,
        fps: s.framesPerSecond ?? null,
        limit: s.qualityLimitationReason ?? 'none',
        codec: codecOf(s),
      });
    }
  }
  const sum = (list) => ({ kbps: list.reduce((n, x) => n + x.kbps, 0) });
  const rtt = pair?.currentRoundTripTime;
  const sample = {
    path: pathOf(stats, pair),
    rttMs: Number.isFinite(rtt) ? rtt * 1000 : null,
    availableOutKbps: pair?.availableOutgoingBitrate ? pair.availableOutgoingBitrate / 1000 : null,
    in: sum([...received.values()]),
    out: sum(sent),
    received,
    sent,
  };
  return { sample, raw };
}

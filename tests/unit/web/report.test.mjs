/**
 * server/web/sori_report.js: what a call reports of its quality, and when.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import '../../lib/node18.mjs'; // first
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { QualityReporter } from '../../../server/web/sori_report.js';

/** What getStats() gives after so many seconds of a voice: 50 packets each, as in Chromium. */
function statsAt(s, over = {}) {
  return new Map(Object.entries({
    t: { type: 'transport', selectedCandidatePairId: 'p' },
    p: { type: 'candidate-pair', id: 'p', localCandidateId: 'l', remoteCandidateId: 'r', currentRoundTripTime: 0.0836, timestamp: s * 1000 },
    l: { type: 'local-candidate', id: 'l', candidateType: 'relay', protocol: 'udp', relayProtocol: 'tls', networkType: 'wifi' },
    r: { type: 'remote-candidate', id: 'r', candidateType: 'prflx' },
    c: { type: 'codec', id: 'c', mimeType: 'audio/opus', sdpFmtpLine: 'minptime=10;useinbandfec=1;maxaveragebitrate=24000' },
    i: {
      type: 'inbound-rtp', kind: 'audio', codecId: 'c', packetsReceived: 50 * s, packetsLost: s, jitter: 0.0052,
      jitterBufferDelay: 48000 * s * 0.061, jitterBufferEmittedCount: 48000 * s, totalSamplesReceived: 48000 * s,
      concealedSamples: 1000 * s, silentConcealedSamples: 40 * s, concealmentEvents: s, bytesReceived: 4000 * s, ...over,
    },
    o: { type: 'outbound-rtp', kind: 'audio', packetsSent: 50 * s, bytesSent: 3000 * s },
  }));
}

function reporter(answer = () => true) {
  const sent = [];
  const it = new QualityReporter((data) => { const taken = answer(); if (taken) sent.push(data); return taken; });
  return { it, sent };
}

describe('QualityReporter', () => {
  test('an early report, then one each ten seconds, and a last one', () => {
    const { it, sent } = reporter();
    for (let s = 0; s <= 26; s++) it.take(statsAt(s), s * 1000, true);
    assert.deepEqual(sent.map((r) => r.intervalMs), [2000, 10_000, 10_000]);
    it.end();
    it.end();
    it.take(statsAt(27), 27_000, true);
    assert.deepEqual(sent.map((r) => r.intervalMs), [2000, 10_000, 10_000, 4000]);
    assert.deepEqual(sent.map((r) => r.final), [false, false, false, true]);
  });

  test('figures are of the interval, whole, and in the units of the protocol', () => {
    const { it, sent } = reporter();
    for (let s = 0; s <= 12; s++) it.take(statsAt(s), s * 1000, true);
    assert.deepEqual(sent[1], {
      final: false, intervalMs: 10_000, rttMs: 84, jitterMs: 5, bufferMs: 61, received: 500, lost: 10, sent: 500,
      samples: 480_000, concealed: 9600, concealments: 10, silenceMs: 0, inBps: 32_000, outBps: 24_000,
      codec: 'opus', maxBps: 24_000, fec: true, dtx: false, local: 'relay', remote: 'prflx', relay: 'tls', network: 'wifi',
    });
    assert.ok(JSON.stringify(sent[1]).length <= 1024);
  });

  test('the network is the candidate\'s, else the browser\'s', (t) => {
    const network = (networkType, type) => {
      const { it, sent } = reporter();
      Object.defineProperty(globalThis, 'navigator', { value: { connection: type && { type } }, configurable: true });
      for (let s = 0; s <= 2; s++) {
        const stats = statsAt(s);
        stats.get('l').networkType = networkType;
        it.take(stats, s * 1000, true);
      }
      return sent[0].network;
    };
    const before = Object.getOwnPropertyDescriptor(globalThis, 'navigator');
    t.after(() => (before ? Object.defineProperty(globalThis, 'navigator', before) : delete globalThis.navigator));
    assert.equal(network('ethernet', 'wifi'), 'ethernet');
    assert.equal(network('unknown', 'cellular'), 'cellular');
    assert.equal(network(undefined, 'wimax'), 'other');
    assert.equal(network('hyperloop', 'none'), null);
    assert.equal(network(undefined, undefined), null);
  });

  test('what is not known is null, never NaN, never negative', () => {
    const { it, sent } = reporter();
    for (let s = 0; s <= 2; s++) it.take(new Map([['i', { type: 'inbound-rtp', kind: 'audio', packetsLost: -s }]]), s * 1000, true);
    const data = JSON.parse(JSON.stringify(sent[0]));
    assert.deepEqual([data.rttMs, data.jitterMs, data.bufferMs, data.codec, data.local, data.lost], [null, null, null, null, null, 0]);
  });

  test('silence is what is missing for more than two seconds while somebody should be heard', () => {
    const { it, sent } = reporter();
    for (let s = 0; s <= 12; s++) it.take(statsAt(Math.min(s, 4)), s * 1000, true);
    assert.equal(sent[1].silenceMs, 6000); // 4..12 without a packet, less two
    const muted = reporter();
    for (let s = 0; s <= 12; s++) muted.it.take(statsAt(Math.min(s, 4)), s * 1000, false);
    assert.equal(muted.sent[1].silenceMs, 0);
  });

  test('who is offline reports a longer interval afterwards', () => {
    let online = true;
    const { it, sent } = reporter(() => online);
    for (let s = 0; s <= 100; s++) {
      online = s < 5 || s > 25;
      it.take(statsAt(s), s * 1000, true);
    }
    assert.deepEqual(sent.map((r) => r.intervalMs), [2000, 24_000, 10_000, 10_000, 10_000, 10_000, 10_000, 10_000, 10_000]);
    assert.equal(sent[1].received, 24 * 50);
  });

  test('a new connection starts its counters over, and so do we', () => {
    const { it, sent } = reporter();
    for (let s = 0; s <= 5; s++) it.take(statsAt(s), s * 1000, true);
    for (let s = 0; s <= 11; s++) it.take(statsAt(s), (6 + s) * 1000, true);
    assert.deepEqual(sent.map((r) => [r.intervalMs, r.received]), [[2000, 100], [10_000, 500]]);
  });
});

/**
 * server/web/sori_relay.js: when a relay counts as dead, and what then.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import '../../lib/node18.mjs'; // first
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { RelayWatch, relayKey } from '../../../server/web/sori_relay.js';

const ONE = 'turn:one.example:3478?transport=udp';
const TWO = 'turn:two.example:3478?transport=udp';
const SERVERS = [{ urls: 'stun:s.example' }, { urls: [ONE, TWO], username: 'u', credential: 'c' }];
const settle = async () => { for (let i = 0; i < 20; i++) await Promise.resolve(); };

/** A clock that the test moves, and connections whose relays answer or not. */
class World {
  t = 0;
  due = [];
  alive = new Set([ONE, TWO]);
  asked = 0;
  died = 0;
  bytes = 0;
  used = ONE;

  constructor(servers = SERVERS) {
    const world = this;
    const env = {
      now: () => this.t,
      setTimeout: (fn, ms) => { const id = { at: this.t + ms, fn }; this.due.push(id); return id; },
      clearTimeout: (id) => { this.due = this.due.filter((d) => d !== id); },
      RTCPeerConnection: class {
        constructor({ iceServers, iceTransportPolicy }) {
          assert.equal(iceTransportPolicy, 'relay');
          this.urls = iceServers.flatMap(({ urls }) => urls).filter((url) => world.alive.has(url));
          this.got = [];
          world.asked++;
          world.open = (world.open ?? 0) + 1;
        }

        createDataChannel() {}

        async createOffer() { return {}; }

        async setLocalDescription() {
          for (const url of this.urls) { this.got.push(url); this.onicecandidate?.({}); }
        }

        async getStats() {
          return new Map(this.got.map((url) => [url, { type: 'local-candidate', candidateType: 'relay', url }]));
        }

        close() { world.open--; }
      },
    };
    this.watch = new RelayWatch(env, { servers: () => servers, died: () => this.died++ });
    this.pc = { getStats: async () => this.report() };
  }

  report(type = 'relay') {
    return new Map(Object.entries({
      t: { type: 'transport', selectedCandidatePairId: 'p' },
      p: { type: 'candidate-pair', id: 'p', localCandidateId: 'l', bytesReceived: this.bytes },
      l: { type: 'local-candidate', id: 'l', candidateType: type, url: this.used },
    }));
  }

  /** Time goes on, a packet each `every` ms meanwhile (0: none). */
  async run(ms, every) {
    const end = this.t + ms;
    for (; this.t < end; this.t += 20) {
      if (every && this.t % every === 0) this.bytes += 100;
      for (const d of this.due.filter(({ at }) => at <= this.t)) {
        this.due = this.due.filter((x) => x !== d);
        d.fn();
        await settle();
      }
    }
  }
}

async function talking(world, every = 20, ms = 10_000) {
  world.watch.take(world.pc, world.report());
  await world.run(ms, every);
}

describe('RelayWatch', () => {
  test('a silent relay that does not answer while another does is dead, within 1.6 s', async () => {
    const w = new World();
    await talking(w);
    assert.equal(w.asked, 0);
    w.alive.delete(ONE);
    await w.run(1_600, 0);
    assert.deepEqual([w.asked, w.died, w.open], [1, 1, 0]);
    assert.deepEqual(w.watch.order(SERVERS).map(({ urls }) => urls), ['stun:s.example', TWO, ONE]);
    assert.deepEqual(w.watch.order(SERVERS)[2], { urls: ONE, username: 'u', credential: 'c' });
    await w.run(61_000, 20);
    assert.equal(w.watch.order(SERVERS), SERVERS); // it may be back
  });

  test('a silent relay that answers is not, and is asked again only after a while', async () => {
    const w = new World();
    await talking(w);
    await w.run(4_000, 0);
    assert.deepEqual([w.asked, w.died, w.open], [1, 0, 0]);
    assert.equal(w.watch.order(SERVERS), SERVERS);
    w.alive.delete(ONE);
    await w.run(4_000, 0);
    assert.deepEqual([w.asked, w.died], [2, 1]);
  });

  test('when nobody answers it is our network, not the relay', async () => {
    const w = new World();
    await talking(w);
    w.alive.clear();
    await w.run(20_000, 0);
    assert.equal(w.died, 0);
    assert.ok(w.asked >= 2);
  });

  test('media with pauses (DTX, a held call) is not suspected for them', async () => {
    const dtx = new World();
    await talking(dtx, 400, 10_020);
    await dtx.run(1_000, 0);
    assert.equal(dtx.asked, 0);
    await dtx.run(600, 0);
    assert.equal(dtx.asked, 1);
    const held = new World();
    await talking(held, 3_000, 60_000);
    assert.ok(held.asked <= 2, `asked ${held.asked} times`);
  });

  test('nothing is asked without another relay, or when media goes another way', async () => {
    const single = new World([{ urls: ONE }]);
    await talking(single);
    await single.run(10_000, 0);
    const direct = new World();
    direct.watch.take(direct.pc, direct.report('host'));
    await direct.run(10_000, 0);
    assert.deepEqual([single.asked, direct.asked, direct.due.length], [0, 0, 0]);
  });

  test('a call that ends ends the watch, also while relays are asked', async () => {
    const w = new World();
    await talking(w);
    w.alive.delete(ONE);
    await w.run(1_240, 0);
    assert.equal(w.asked, 1);
    w.watch.stop();
    await w.run(5_000, 0);
    assert.deepEqual([w.died, w.open, w.due.length], [0, 0, 0]);
  });

  test('an URL has one key, whatever it leaves out', () => {
    assert.equal(relayKey('turn:A.example'), relayKey('turn:a.example:3478?transport=udp'));
    assert.equal(relayKey('turns:a.example'), relayKey('turns:a.example:5349?transport=tcp'));
    assert.notEqual(relayKey('turn:a.example'), relayKey('turn:a.example?transport=tcp'));
    assert.equal(relayKey('turn:[2001:db8::1]:3478'), relayKey('turn:[2001:db8::1]'));
    assert.equal(relayKey('stun:a.example'), null);
    assert.equal(relayKey(undefined), null);
  });
});

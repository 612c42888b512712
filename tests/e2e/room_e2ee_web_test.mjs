/**
 * Frames that the browsers have encrypted end to end pass through the room untouched: who has the key
 * hears and sees, who has another gets all packets and hears and sees nothing. Run by run_browser.mjs.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { openBrowser } from '../lib/browser.mjs';
import { startDaemons } from '../lib/daemons.mjs';
import { RoomPerson, allHear, allSee } from '../lib/room_people.mjs';

const DEADLINE = { timeout: 120_000 };
const KEY = 1234567;
const OTHER_KEY = 7654321;

/**
 * Runs in the page: all rooms from now on are encrypted with a key stream (in a worker, by
 * RTCRtpScriptTransform). As SFrame clients for VP8 do, it leaves what packetizers read: 10 bytes of a
 * key frame, 3 of another, 1 of audio. A sealed frame ends with a checksum of what was in it, so that
 * the receiver knows whether every byte came through and whether its key is the right one; what does
 * not fit is dropped and counted.
 */
function encrypt(key) {
  const source = `
    const clear = (f) => (f.type === 'key' ? 10 : f.type === 'delta' ? 3 : 1);
    const next = (x) => (Math.imul(x, 1664525) + 1013904223) >>> 0;
    const mix = (data, from, key) => {
      const out = Uint8Array.from(data);
      for (let i = 0, x = key; i < out.length; i++) {
        x = next(x);
        if (i >= from) out[i] ^= x >>> 24;
      }
      return out;
    };
    const sum = (data) => data.reduce((h, b) => Math.imul(h ^ b, 16777619) >>> 0, 2166136261);
    const count = {};
    setInterval(() => postMessage(count), 100);
    onrtctransform = ({ transformer: { readable, writable, options: { how, kind, key } } }) => {
      readable.pipeThrough(new TransformStream({
        transform(frame, out) {
          const data = new Uint8Array(frame.data);
          const from = clear(frame);
          let result = how;
          if (how === 'sealed') {
            const sealed = new Uint8Array(data.length + 4);
            sealed.set(mix(data, from, key));
            new DataView(sealed.buffer).setUint32(data.length, sum(data));
            frame.data = sealed.buffer;
          } else {
            const n = data.length - 4;
            const plain = n >= from ? mix(data.subarray(0, n), from, key) : null;
            if (plain && sum(plain) === new DataView(frame.data).getUint32(n)) frame.data = plain.buffer;
            else result = 'refused';
          }
          count[kind + ' ' + result] = (count[kind + ' ' + result] ?? 0) + 1;
          if (result !== 'refused') out.enqueue(frame);
        },
      })).pipeTo(writable);
    };`;
  const worker = new Worker(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })));
  const join = sori.joinRoom.bind(sori);

  window.sealing = {};
  worker.onmessage = ({ data }) => { window.sealing = data; };
  sori.joinRoom = (id, options) => join(id, {
    ...options,
    transform: (rtp, kind) => new RTCRtpScriptTransform(worker, { how: rtp instanceof RTCRtpSender ? 'sealed' : 'opened', kind, key }),
  });
}

describe('end-to-end encryption', () => {
  let daemons;
  let browser;

  before(async () => {
    daemons = await startDaemons({ sfu: true });
    browser = await openBrowser();
  }, DEADLINE);
  after(async () => {
    await browser?.close();
    await daemons?.stop();
  }, DEADLINE);

  async function enter(t, name, index, key) {
    const person = await RoomPerson.join(t, browser.raw, name, null, { index, bypassCSP: true });

    await person.page.evaluate(encrypt, key);
    await person.at('room-input').fill('sealed');
    await person.at('room-join').click();
    await person.in('active');
    return person;
  }

  const counts = (person) => person.page.evaluate(() => window.sealing);

  test('heard and seen by who has the key, by nobody else', DEADLINE, async (t) => {
    const alice = await enter(t, 'alice', 0, KEY);
    const bob = await enter(t, 'bob', 1, KEY);

    await Promise.all([alice.camera(), bob.camera()]);
    await allHear([alice, bob]);
    await allSee([alice, bob]);
    const eve = await enter(t, 'eve', 2, OTHER_KEY);
    await eve.at('room-mute').click(); // she listens
    const before = await Promise.all([alice, bob, eve].map(counts));
    const packets = () => Promise.all(['audio', 'video'].map((kind) => eve.stat('inbound-rtp', 'packetsReceived', kind)));
    const got = await packets();
    await eve.page.waitForTimeout(3000);
    const heard = await eve.page.evaluate(() => window.hearing(500));
    const now = await Promise.all([alice, bob, eve].map(counts));
    const gained = now.map((c, i) => Object.fromEntries(Object.entries(c).map(([k, n]) => [k, n - (before[i][k] ?? 0)])));
    t.diagnostic(`frames: ${JSON.stringify(gained)}`);

    for (const counted of gained.slice(0, 2))
      for (const what of ['audio sealed', 'audio opened', 'video sealed', 'video opened'])
        assert.ok(counted[what] > 15, `${what}: ${JSON.stringify(gained)}`);
    // Eve gets every packet; nothing of it opens.
    const more = (await packets()).map((n, i) => n - got[i]);
    assert.ok(more.every((n) => n > 30), `eve got ${more} packets`);
    for (const what of ['audio', 'video']) {
      assert.ok(gained[2][`${what} refused`] > 15, JSON.stringify(gained));
      assert.equal(now[2][`${what} opened`] ?? 0, 0);
    }
    assert.deepEqual(heard.filter((h) => h.db > -70), []);
    assert.equal(await eve.stat('inbound-rtp', 'framesDecoded', 'video'), 0);
    // Who has the key still hears and sees, and what was refused stays what eve had said.
    await Promise.all([alice.hears(bob), bob.hears(alice)]);
    await allSee([alice, bob]);
    for (const counted of now.slice(0, 2)) assert.equal(counted['video refused'] ?? 0, 0);
  });
});

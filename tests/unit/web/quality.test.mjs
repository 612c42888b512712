/**
 * estimateMos() and tabDeviceId() of server/web/sori.js.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import '../../lib/node18.mjs'; // first
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { estimateMos, tabDeviceId } from '../../../server/web/sori.js';
import { FakeStorage } from '../../lib/fake_signal.mjs';
import { VirtualClock } from '../../lib/virtual_clock.mjs';

describe('estimateMos', () => {
  test('nothing lost, no delay: R 93.2, MOS 4.41', () => {
    const { r, mos } = estimateMos({ rttMs: 0, lossPct: 0, jitterBufferMs: 0 });
    assert.equal(r, 93.2);
    assert.equal(mos.toFixed(2), '4.41');
  });

  // Idd of G.107 for one-way delays Ta.
  for (const [oneWayMs, id] of [[100, 0], [150, 0.16], [200, 3.04], [300, 14.76], [400, 24.07]])
    test(`a one-way delay of ${oneWayMs} ms costs ${id}`, () => {
      const { r } = estimateMos({ rttMs: 2 * (oneWayMs - 26.5) });
      assert.ok(Math.abs(93.2 - r - id) < 0.05, `Id is ${93.2 - r}`);
    });

  test('never rises with loss or delay, and stays within 1 and 4.5', () => {
    let last = 5;
    for (let lossPct = 0; lossPct <= 100; lossPct++) {
      const { mos } = estimateMos({ lossPct, rttMs: lossPct * 20 });
      assert.ok(mos <= last && mos >= 1 && mos <= 4.5);
      last = mos;
    }
  });

  test('missing, negative and absurd values do no harm', () => {
    for (const x of [undefined, null, NaN, -1, Infinity, 1e12])
      assert.ok(Number.isFinite(estimateMos({ rttMs: x, lossPct: x, jitterBufferMs: x }).mos));
  });
});

describe('tabDeviceId', () => {
  /** navigator.locks of one browser. */
  const browser = () => {
    const held = new Set();
    return {
      held,
      request(name, { signal }, fn) {
        if (!held.has(name)) {
          held.add(name);
          fn();
          return new Promise(() => {});
        }
        return new Promise((_, reject) => { signal.addEventListener('abort', () => reject(signal.reason)); });
      },
    };
  };
  const env = (locks, clock) => ({
    locks, setTimeout: (f, ms) => clock.setTimeout(f, ms), clearTimeout: (id) => clock.clearTimeout(id),
  });

  test('is made once and kept over a reload', async () => {
    const storage = new FakeStorage();
    const clock = new VirtualClock();
    const first = await tabDeviceId(storage, env(browser(), clock));
    assert.match(first, /^[A-Za-z0-9._-]{1,64}$/);
    assert.equal(await tabDeviceId(storage, env(browser(), clock)), first);
  });

  test('a duplicated tab takes another one', async () => {
    const storage = new FakeStorage();
    const locks = browser();
    const clock = new VirtualClock();
    const first = await tabDeviceId(storage, env(locks, clock));
    const duplicate = tabDeviceId(storage, env(locks, clock));
    await clock.advance(500);
    assert.notEqual(await duplicate, first);
  });

  test('works without locks and without storage', async () => {
    assert.match(await tabDeviceId(null, { locks: undefined }), /^web-/);
  });
});

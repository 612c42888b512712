/**
 * Video of a room: layers by choice, codecs, and a new start when the SFU dies.
 * Run by run_browser.mjs.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { openBrowser } from '../lib/browser.mjs';
import { startDaemons } from '../lib/daemons.mjs';
import { RoomPerson, allHear, allSee } from '../lib/room_people.mjs';

const DEADLINE = { timeout: 120_000 };

describe('video of a room', () => {
  let daemons;
  let browser;
  const meet = (t, names, how) => RoomPerson.meet(t, browser.raw, names, how);

  before(async () => {
    daemons = await startDaemons({ sfu: true });
    browser = await openBrowser();
  }, DEADLINE);
  after(async () => {
    await browser?.close();
    await daemons?.stop();
  }, DEADLINE);

  test('simulcast: the layer that was chosen comes', DEADLINE, async (t) => {
    const [alice, bob] = await meet(t, ['alice', 'bob'], { picture: { width: 960, height: 540, fps: 10 } });

    await alice.camera();
    await bob.layer(alice, 'low');
    await bob.sees(alice, { width: 240 });
    await bob.layer(alice, 'high');
    await bob.sees(alice, { width: 960 });
    await bob.layer(alice, 'medium');
    await bob.sees(alice, { width: 480 });
    await bob.layer(alice, 'off');
    await bob.blind(alice);
    // Nobody watches: nothing is encoded.
    await alice.page.waitForFunction(() => sori.rooms[0].localTrack('camera').wanted?.length === 0);
    await alice.page.waitForFunction(async () => {
      const sum = async () => [...(await sori.rooms[0].getStats()).values()]
        .filter((s) => s.type === 'outbound-rtp' && s.kind === 'video').reduce((n, s) => n + s.framesEncoded, 0);
      const before = await sum();
      await new Promise((done) => { setTimeout(done, 500); });
      return await sum() === before;
    });
    await bob.layer(alice, 'low');
    await bob.sees(alice, { width: 240 });
  });

  test('the SFU dies: everybody is back by themselves', DEADLINE, async (t) => {
    const people = await meet(t, ['alice', 'bob', 'carol'], { camera: true });

    await allHear(people);
    await daemons.crashSfu();
    await allHear(people);
    await allSee(people);
  });

  test('H.264, VP9 and AV1', DEADLINE, async (t) => {
    const [alice, bob] = await meet(t, ['alice', 'bob']);

    for (const codec of ['vp9', 'h264', 'av1']) {
      const had = await alice.page.evaluate((name) => RTCRtpSender.getCapabilities('video').codecs.some((c) => c.mimeType.toLowerCase() === `video/${name}`), codec);
      if (!had) {
        t.diagnostic(`this browser does not encode ${codec}`);
        continue;
      }
      await alice.page.evaluate(async (name) => {
        const stream = await navigator.mediaDevices.getUserMedia({ video: true });
        window.published = await sori.rooms[0].publish(stream.getVideoTracks()[0], { source: 'camera', codec: name });
      }, codec);
      await bob.sees(alice);
      await bob.page.waitForFunction((name) => [...sori.rooms[0].stats.received.values()].some((r) => r.kind === 'video' && r.codec === name && r.fps > 0), codec);
      await alice.page.evaluate(() => sori.rooms[0].unpublish(window.published));
      await bob.blind(alice);
    }
  });
});

/**
 * The room page before a scripted server, with pictures and tones of a second RTCPeerConnection in the
 * page itself: what it shows and what it sends. Needs no daemon.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { openBrowser } from '../lib/browser.mjs';
import { ScriptedRoom, serveWeb } from '../lib/scripted_room.mjs';

const DEADLINE = { timeout: 60_000 };

describe('the room page', () => {
  let browser;
  let web;

  before(async () => {
    web = await serveWeb();
    browser = await openBrowser();
  }, DEADLINE);
  after(async () => {
    await browser?.close();
    web?.close();
  }, DEADLINE);

  /** Alice in the room "team" with these others. */
  async function enter(t, others = [], { viewport = { width: 1280, height: 720 }, before: prepare, how } = {}) {
    const context = await browser.raw.newContext({ viewport, permissions: ['microphone', 'camera'] });
    const page = await context.newPage();
    const complaints = [];
    page.on('pageerror', (error) => complaints.push(error.stack));
    page.setDefaultTimeout(15_000);
    t.after(async () => {
      await context.close();
      assert.deepEqual(complaints, []);
    });
    const room = await ScriptedRoom.on(page);
    room.me = 'alice';
    prepare?.(room);
    for (const user of others) room.person(user, how);
    await page.goto(`${web.url}?room=team`);
    await page.getByTestId('name-input').fill('alice');
    await page.getByTestId('name-submit').click();
    await page.locator('[data-testid=room][data-state=active]').waitFor();
    return { page, room, at: (id) => page.getByTestId(id) };
  }

  test('asked for a name, then in: tiles with pictures, sound on every slot', DEADLINE, async (t) => {
    const { page, room, at } = await enter(t, ['bob', 'carol']);
    const join = await room.next('room.join');

    assert.ok(JSON.stringify(join).length < 30_000, `the offer has ${JSON.stringify(join).length} bytes`);
    for (const user of ['bob', 'carol']) await page.locator(`[data-testid=tile-${user}][data-video=on]`).waitFor();
    await page.waitForFunction(() => [...document.querySelectorAll('.tile[data-video=on] video')].every((v) => v.videoWidth > 0 && !v.paused));
    await page.waitForFunction(() => [...sori.rooms[0].stats?.received.values() ?? []].filter((r) => r.kind === 'audio' && r.packets > 20).length === 6);
    assert.equal(await page.locator('#room-audio audio').count(), 6);
    assert.equal(await at('people-count').textContent(), '3');
    assert.match(page.url(), /\?room=team$/);
  });

  test('microphone, camera and leave', DEADLINE, async (t) => {
    const { page, room, at } = await enter(t, ['bob']);

    await at('room-mute').click();
    assert.deepEqual((await room.next('room.mute')).data, { trackId: 'p-me:0', muted: true });
    await page.locator('[data-testid=tile-alice][data-muted=true]').waitFor();
    await at('room-camera').click();
    const offer = await room.next('room.offer');
    assert.deepEqual(offer.data.tracks.map((x) => x.source), ['microphone', 'camera']);
    assert.match(offer.data.offer.sdp, /a=simulcast:send q;h;f/);
    assert.match(offer.data.offer.sdp, /a=rtcp-fb:\d+ nack\r\na=rtpmap:\d+ opus/);
    await page.locator('[data-testid=tile-alice][data-video=on]').waitFor();
    await at('room-camera').click();
    await room.next('room.unpublish');
    await page.locator('[data-testid=tile-alice][data-video=off]').waitFor();
    await at('room-leave').click();
    await room.next('room.leave');
    await at('room').waitFor({ state: 'hidden' });
    assert.doesNotMatch(page.url(), /room=/);
  });

  test('who speaks, how good connections are, who is muted and who reconnects', DEADLINE, async (t) => {
    const { page, room } = await enter(t, ['bob', 'carol']);

    room.say('room.speakers', { dominant: 'p-bob', speakers: [{ participantId: 'p-bob', level: 20 }] });
    await page.locator('[data-testid=tile-bob][data-speaking=true]').waitFor();
    room.say('room.speakers', { speakers: [] });
    await page.locator('[data-testid=tile-bob][data-speaking=false]').waitFor();
    room.say('room.quality', { participants: [{ participantId: 'p-carol', score: 2, mos: 2.4 }] });
    await page.locator('[data-testid=tile-carol] .bars[data-score="2"][aria-label="Connection: poor (MOS 2.4)"]').waitFor();
    room.say('room.track', { event: 'muted', participantId: 'p-carol', track: { trackId: 'p-carol:0', muted: true } });
    await page.locator('[data-testid=tile-carol][data-muted=true]').waitFor();
    room.say('room.participant', { event: 'reconnecting', participant: { participantId: 'p-bob', user: 'bob', state: 'reconnecting' } });
    await page.locator('[data-testid=tile-bob][data-state=reconnecting] .tile-note', { hasText: 'Reconnecting…' }).waitFor();
    room.say('room.participant', { event: 'left', participant: { participantId: 'p-bob', user: 'bob' }, reason: 'left' });
    await page.locator('[data-testid=tile-bob]').waitFor({ state: 'detached' });
  });

  test('layers: by the size of a tile, then by choice', DEADLINE, async (t) => {
    const { page, room, at } = await enter(t, ['bob']);
    const wish = async (layer) => {
      for (;;) {
        const { data } = await room.next('room.subscribe');
        if (data.tracks.some((x) => x.trackId === 'p-bob:1' && (layer === 'off' ? !x.wanted : x.layer === layer))) return;
      }
    };

    await wish('auto');
    await at('layer-bob').selectOption('low', { force: true });
    await wish(0);
    await at('layer-bob').selectOption('off', { force: true });
    await wish('off');
    await page.locator('[data-testid=tile-bob][data-video=off]').waitFor();
    await at('layer-bob').selectOption('auto', { force: true });
    await page.setViewportSize({ width: 500, height: 420 });
    await wish(0);
    const mid = room.slots.find((s) => s.trackId === 'p-bob:1').mid;
    room.say('room.layers', { mid, paused: true, reason: 'bandwidth' });
    await page.locator('[data-testid=tile-bob] .tile-note', { hasText: 'Paused: slow network' }).waitFor();
  });

  test('many: one in front and a strip; more slots are asked for', DEADLINE, async (t) => {
    const names = Array.from({ length: 11 }, (_, i) => `guest${i}`);
    const { page, room, at } = await enter(t, names);

    const offer = await room.next('room.offer');
    assert.ok(offer.data.offer.sdp.match(/m=video/g).length >= 11);
    await page.locator('[data-testid=room][data-layout=speaker]').waitFor();
    room.say('room.speakers', { dominant: 'p-guest4', speakers: [{ participantId: 'p-guest4', level: 9 }] });
    await page.locator('[data-testid=tile-guest4].main').waitFor();
    await page.waitForFunction(() => [...document.querySelectorAll('.tile[data-video=on] video')].filter((v) => v.videoWidth > 0).length >= 11);
    await at('room-layout').click();
    await page.locator('[data-testid=room][data-layout=grid]').waitFor();
    await at('tile-guest7').dblclick();
    await page.locator('[data-testid=tile-guest7].main').waitFor();
  });

  test('a screen goes in front', DEADLINE, async (t) => {
    const { page, room } = await enter(t, ['bob']);

    room.person('carol', { screen: true });
    await page.locator('[data-testid=tile-carol-screen].main[data-video=on]').waitFor();
    room.say('room.track', { event: 'unpublished', participantId: 'p-carol', track: { trackId: 'p-carol:2' } });
    await page.locator('[data-testid=tile-carol-screen]').waitFor({ state: 'detached' });
    await page.locator('[data-testid=room][data-layout=grid]').waitFor();
  });

  test('chat over the data channel', DEADLINE, async (t) => {
    const { page, at } = await enter(t, ['bob']);

    await page.evaluate(() => { window.heard = new Promise((done) => { window.sfuGot = (label, data) => done([label, data]); }); });
    await page.waitForFunction(() => window.sfu.channels.sori?.readyState === 'open');
    await page.evaluate(() => sfu.data('sori', JSON.stringify({ from: 'p-bob', topic: 'chat', payload: { text: '<i>hi</i>' } })));
    await page.locator('#chat-count', { hasText: '1' }).waitFor();
    await at('room-chat').click();
    await at('chat-line').filter({ hasText: '<i>hi</i>' }).waitFor();
    await page.locator('#chat-count').waitFor({ state: 'hidden' });
    await at('chat-input').fill('hello');
    await at('chat-input').press('Enter');
    assert.deepEqual(await page.evaluate(() => window.heard), ['sori', '{"topic":"chat","payload":{"text":"hello"}}']);
    await at('chat-line').filter({ hasText: 'hello' }).waitFor();
    await page.keyboard.press('Escape');
    await page.locator('#side').waitFor({ state: 'hidden' });
  });

  test('people: an admin mutes, puts out and rings in', DEADLINE, async (t) => {
    const { page, room, at } = await enter(t, ['bob'], { before: (r) => { r.permissions.admin = true; } });

    await at('room-people').click();
    await at('mute-bob').click();
    assert.deepEqual((await room.next('room.mute')).data, { trackId: 'p-bob:0', muted: true });
    await at('kick-bob').click();
    assert.deepEqual((await room.next('room.kick')).data, { participantId: 'p-bob' });
    await at('invite-input').fill('zoe');
    await at('invite-submit').click();
    assert.deepEqual((await room.next('room.invite')).data, { users: ['zoe'] });
    await at('invited-zoe').waitFor();
    await page.locator('[data-testid=room-stats]', { hasText: 'udp host' }).waitFor();
  });

  test('alone: an invitation to invite; the SFU goes: back by itself; put out: told', DEADLINE, async (t) => {
    const { page, room, at } = await enter(t);

    await at('room-empty').waitFor();
    room.person('bob');
    await at('room-empty').waitFor({ state: 'hidden' });
    room.say('room.restart', { reason: 'sfu_lost' });
    await page.locator('[data-testid=room][data-state=reconnecting]').waitFor();
    assert.equal((await room.next('room.offer')).data.fresh, true);
    await page.locator('[data-testid=room][data-state=active]').waitFor();
    room.say('room.closed', { reason: 'kicked' });
    await at('room').waitFor({ state: 'hidden' });
    await at('message').filter({ hasText: 'You were put out of the room.' }).waitFor();
  });

  test('reload: back in the room, muted as before', DEADLINE, async (t) => {
    const { page, room, at } = await enter(t, ['bob']);

    await at('room-mute').click();
    await room.next('room.mute');
    await room.next('room.join');
    await page.reload();
    const join = await room.next('room.join');
    assert.deepEqual(join.data.tracks, [{ mid: '0', source: 'microphone', muted: true }]);
    await page.locator('[data-testid=room][data-state=active]').waitFor();
  });

  test('on a phone nothing is wider than the screen, and all controls can be reached', DEADLINE, async (t) => {
    const { page } = await enter(t, ['bob', 'carol', 'dave'], { viewport: { width: 390, height: 844 } });

    await page.waitForFunction(() => document.querySelectorAll('.tile[data-video=on]').length >= 3);
    const boxes = await page.evaluate(() => ({
      wide: document.documentElement.scrollWidth,
      outside: [...document.querySelectorAll('.room-controls button:not([hidden]), .tile')].map((el) => el.getBoundingClientRect())
        .filter((r) => r.left < 0 || r.right > 390.5 || r.bottom > 844.5 || r.top < 0).length,
      small: [...document.querySelectorAll('.room-controls button:not([hidden])')].filter((el) => el.getBoundingClientRect().height < 44).length,
    }));
    assert.deepEqual(boxes, { wide: 390, outside: 0, small: 0 });
  });

  test('every control has a name, and tabs are changed by arrow keys', DEADLINE, async (t) => {
    const { page, at } = await enter(t, ['bob'], { before: (r) => { r.permissions.admin = true; } });

    await at('room-people').click();
    await at('kick-bob').waitFor();
    const nameless = await page.evaluate(() => [...document.querySelectorAll('#room button, #room select, #room input')]
      .filter((el) => el.checkVisibility?.() ?? true)
      .filter((el) => !(el.getAttribute('aria-label') || el.textContent.trim() || el.labels?.length)).map((el) => el.outerHTML));
    assert.deepEqual(nameless, []);
    await page.locator('#tab-people').press('ArrowRight');
    await page.locator('#tab-chat[aria-selected=true]:focus').waitFor();
    await page.locator('#panel-chat').waitFor();
  });
});

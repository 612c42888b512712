/**
 * Rooms of server/web/sori.js before a scripted server: joining, tracks, slots, layers, data, coming
 * back (docs/SIGNALING.md §10).
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { FakeTrack } from '../../lib/fake_peer.mjs';
import { record, WebClient } from '../../lib/web_client.mjs';
import {
  cameraEncodings, chooseCodecs, mediaMids, packBinary, unpackBinary, withOpusNack,
} from '../../../server/web/sori_room.js';
import { bestGrid } from '../../../server/web/room_page.js';

const ANSWER = { type: 'answer', sdp: 'answer' };
const LIMITS = { participants: 100, tracks: 8, slots: 32, metadataBytes: 512 };
const ALLOWED = { publish: true, subscribe: true, data: true, admin: false, hidden: false };
const SERVERS = [{ urls: ['turn:turn.example:3478'], username: 'u', credential: 'c' }];

const bobs = (mid, kind, source) => ({
  trackId: `bob-1:${mid}`, mid: String(mid), kind, source, muted: false, layers: kind === 'video' ? 3 : 1,
});
const bob = (fields = {}) => ({
  participantId: 'bob-1', user: 'bob', deviceId: 'phone', role: 'member', state: 'connected',
  tracks: [bobs(0, 'audio', 'microphone'), bobs(1, 'video', 'camera')], ...fields,
});

/** What the server answers to a join or an offer. */
function answer({ data: { offer, tracks } }, fields = {}) {
  const mids = mediaMids(offer.sdp);
  const receives = offer.sdp.split(/^m=/m).slice(1).filter((s) => /^a=recvonly/m.test(s));

  return {
    participantId: 'me-1', answer: ANSWER, role: 'member', permissions: ALLOWED, more: false, iceServers: [],
    room: { roomId: 'team', limits: LIMITS }, participants: [],
    tracks: tracks.map((t) => ({ ...t, trackId: `me-1:${t.mid}`, kind: 'audio', muted: t.muted === true, layers: 1 })),
    slots: mids.slice(-receives.length).map((mid) => ({ mid })),
    ...fields,
  };
}

/** A client, online and asking for a room. */
async function asking(options = {}, clientOptions) {
  const c = new WebClient(clientOptions);

  await c.online();
  c.joining = c.sori.joinRoom('team', { slots: { audio: 2, video: 2 }, ...options });
  await c.settle();
  return c;
}

/** A client in a room. */
async function joined(options, fields) {
  const c = await asking(options);

  c.join = c.socket.read('room.join');
  await c.reply(c.join, answer(c.join, fields));
  c.room = await c.joining;
  return c;
}

const event = (c, type, data) => c.say({ type, roomId: 'team', data });

describe('joining', () => {
  test('one request carries the offer, our tracks with their sections, and what we want', async () => {
    const c = await asking({ video: true, metadata: { hand: true } });
    const join = c.socket.read('room.join');

    assert.equal(join.roomId, 'team');
    assert.equal(join.data.offer.type, 'offer');
    assert.deepEqual(join.data.tracks, [{ mid: '0', source: 'microphone' }, { mid: '1', source: 'camera' }]);
    assert.deepEqual(join.data.subscribe, { audio: 'auto', video: 'auto' });
    assert.deepEqual(join.data.metadata, { hand: true });
    const directions = c.peers[0].getTransceivers().map((t) => `${t.kind} ${t.direction}`);
    assert.deepEqual(directions, ['audio sendonly', 'video sendonly', 'audio recvonly', 'audio recvonly',
      'video recvonly', 'video recvonly']);
    assert.deepEqual(c.peers[0].channels.map((ch) => [ch.label, ch.options]),
      [['sori', {}], ['sori-lossy', { ordered: false, maxRetransmits: 0 }]]);
  });

  test('gathers with the ICE servers of the reply, and is active when media is up', async () => {
    const c = await joined({}, { iceServers: SERVERS });
    const states = record(c.room, 'state');

    assert.equal(c.room.state, 'connecting');
    assert.deepEqual(c.peers[0].configuration.iceServers, SERVERS);
    assert.deepEqual(c.peers[0].remoteDescription, ANSWER);
    assert.equal(c.room.me.id, 'me-1');
    assert.equal(c.room.me.name, 'Alice');
    assert.deepEqual(c.room.limits, LIMITS);
    assert.equal(c.room.localTrack('microphone').id, 'me-1:0');
    c.peers[0].become('connected');
    assert.equal(c.room.state, 'active');
    assert.deepEqual(states.map((e) => e.state), ['active']);
    assert.deepEqual(c.sori.rooms, [c.room]);
  });

  test('who is there already, and what is on which slot', async () => {
    const c = await joined({}, {
      participants: [bob()], slots: [{ mid: '1', trackId: 'bob-1:0', participantId: 'bob-1' }, { mid: '2' }, { mid: '3', trackId: 'bob-1:1' }],
    });
    const there = c.room.participants.get('bob-1');

    assert.equal(there.name, 'bob');
    assert.equal(there.track('camera').stream.getTracks()[0], c.peers[0].getTransceivers()[3].receiver.track);
    assert.equal(there.track('microphone').mid, '1');
    assert.deepEqual(c.room.audioSlots.map((s) => [s.mid, s.track?.id ?? null]), [['1', 'bob-1:0'], ['2', null]]);
  });

  test('refused: the error is thrown, the devices are closed, the room is forgotten', async () => {
    const c = await asking();
    const failed = assert.rejects(c.joining, { code: 'room.full' });

    await c.refuse(c.socket.read('room.join'), 'room.full');
    await failed;
    assert.equal(c.media.opened[0].readyState, 'ended');
    assert.equal(c.peers[0].closed, true);
    assert.deepEqual(c.sori.rooms, []);
  });

  test('a room is joined once', async () => {
    const c = await joined();

    await assert.rejects(c.sori.joinRoom('team'), { code: 'bad_state' });
    assert.equal(c.room.state, 'connecting');
  });

  test('with tracks of the application, which are not stopped', async () => {
    const track = new FakeTrack('audio');
    const c = await joined({ audio: track, muted: true });

    assert.equal(c.media.opened.length, 0);
    assert.deepEqual(c.join.data.tracks, [{ mid: '0', source: 'microphone', muted: true }]);
    assert.equal(track.enabled, false);
    c.room.leave();
    assert.equal(track.readyState, 'live');
  });

  test('listening only', async () => {
    const c = await joined({ audio: false, data: false });

    assert.deepEqual(c.join.data.tracks, []);
    assert.equal(c.peers[0].channels.length, 0);
    assert.throws(() => c.room.sendData('x'), { code: 'no_data' });
  });

  test('leave: told to the server, effective at once', async () => {
    const c = await joined();
    const closed = record(c.room, 'closed');

    c.room.leave();
    c.socket.read('room.leave');
    assert.equal(closed[0].reason, 'left');
    assert.equal(c.peers[0].closed, true);
    assert.equal(c.media.opened[0].readyState, 'ended');
    assert.deepEqual(c.sori.rooms, []);
    c.room.leave();
    assert.equal(c.socket.sent('room.leave').length, 0);
  });
});

describe('our tracks', () => {
  /** Answers the offer that the room has sent. */
  async function offered(c, fields) {
    await c.settle();
    const offer = c.socket.read('room.offer');
    await c.reply(offer, answer(offer, fields));
    return offer;
  }

  test('a camera is published by one offer, in three layers', async () => {
    const c = await joined();
    const on = c.room.setCamera(true);
    const offer = await offered(c);

    await on;
    assert.deepEqual(offer.data.tracks, [{ mid: '0', source: 'microphone' }, { mid: '5', source: 'camera' }]);
    const { encodings } = c.peers[0].getTransceivers()[5].sender.getParameters();
    assert.deepEqual(encodings.map((e) => [e.rid, e.scaleResolutionDownBy]), [['q', 4], ['h', 2], ['f', 1]]);
    assert.equal(c.room.localTrack('camera').id, 'me-1:5');
  });

  test('off and on again: the section is used again', async () => {
    const c = await joined({ video: true });
    const off = c.room.setCamera(false);

    await c.settle();
    const gone = c.socket.read('room.unpublish');
    assert.deepEqual(gone.data, { trackId: 'me-1:1' });
    await c.reply(gone);
    await off;
    assert.equal(c.media.opened[1].readyState, 'ended');
    assert.equal(c.peers[0].getTransceivers()[1].direction, 'inactive');
    const on = c.room.setCamera(true);
    await offered(c);
    await on;
    assert.equal(c.peers[0].getTransceivers().length, 6);
    assert.equal(c.peers[0].getTransceivers()[1].direction, 'sendonly');
    assert.equal(c.peers[0].getTransceivers()[1].sender.track, c.media.opened[2]);
  });

  test('a screen with sound: two tracks, one offer', async () => {
    const c = await joined();
    const on = c.room.setScreen(true);
    const offer = await offered(c);

    await on;
    assert.deepEqual(offer.data.tracks.map((t) => t.source), ['microphone', 'screen_audio', 'screen']);
    assert.equal(c.socket.sent('room.offer').length, 0);
    c.room.localTrack('screen').track.onended(); // the browser's own button
    await c.settle();
    assert.equal(c.room.localTrack('screen'), null);
    c.socket.read('room.unpublish');
  });

  test('off before the server has taken it: a second offer without it', async () => {
    const c = await joined();
    const on = c.room.setCamera(true);

    await c.settle();
    const first = c.socket.read('room.offer');
    const off = c.room.setCamera(false);
    await c.reply(first, answer(first));
    const second = await offered(c);
    await Promise.all([on, off]);
    assert.deepEqual(second.data.tracks, [{ mid: '0', source: 'microphone' }]);
    assert.match(second.data.offer.sdp, /a=mid:5\r\na=inactive/);
    assert.equal(c.socket.sent('room.unpublish').length, 0);
  });

  test('a refused track is taken back', async () => {
    const c = await joined();
    const on = assert.rejects(c.room.setCamera(true), { code: 'room.forbidden' });

    await c.settle();
    await c.refuse(c.socket.read('room.offer'), 'room.forbidden');
    await on;
    assert.equal(c.room.localTrack('camera'), null);
    assert.equal(c.media.opened[1].readyState, 'ended');
    assert.equal(c.peers[0].signalingState, 'stable');
    assert.equal(c.room.state, 'connecting');
  });

  test('mute: silent at once, told; an admin may mute us, and we unmute', async () => {
    const c = await joined();
    const told = record(c.room, 'track');

    c.room.setMuted(true);
    assert.equal(c.media.opened[0].enabled, false);
    assert.deepEqual(c.socket.read('room.mute').data, { trackId: 'me-1:0', muted: true });
    c.room.setMuted(false);
    assert.deepEqual(c.socket.read('room.mute').data, { trackId: 'me-1:0', muted: false });
    await event(c, 'room.participant', { event: 'joined', participant: bob() });
    await event(c, 'room.track', {
      event: 'muted', participantId: 'me-1', by: 'bob-1', track: { trackId: 'me-1:0', muted: true },
    });
    assert.equal(c.room.muted, true);
    assert.equal(c.media.opened[0].enabled, false);
    assert.equal(told.at(-1).by.user, 'bob');
    assert.equal(c.socket.sent('room.mute').length, 0);
    c.room.setMuted(false);
    assert.equal(c.media.opened[0].enabled, true);
  });

  test('only the layers that somebody watches are encoded', async () => {
    const c = await joined({ video: true });
    const active = () => c.peers[0].getTransceivers()[1].sender.getParameters().encodings.map((e) => e.active);

    await event(c, 'room.layers', { trackId: 'me-1:1', wanted: [0] });
    assert.deepEqual(active(), [true, false, false]);
    await event(c, 'room.layers', { trackId: 'me-1:1', wanted: [] });
    assert.deepEqual(active(), [false, false, false]);
    await event(c, 'room.layers', { trackId: 'me-1:1', wanted: [0, 2] });
    assert.deepEqual(active(), [true, false, true]);
  });

  test('a codec with spatial layers of its own is sent in one stream', async () => {
    const c = await joined({ video: true, videoCodec: 'vp9' });
    const sender = c.peers[0].getTransceivers()[1].sender;

    assert.deepEqual(sender.getParameters().encodings.map((e) => e.scalabilityMode), ['L3T3_KEY']);
    await event(c, 'room.layers', { trackId: 'me-1:1', wanted: [1] });
    assert.equal(sender.getParameters().encodings[0].active, true);
    await event(c, 'room.layers', { trackId: 'me-1:1', wanted: [] });
    assert.equal(sender.getParameters().encodings[0].active, false);
  });
});

describe('others', () => {
  test('come, publish, mute, change and go', async () => {
    const c = await joined();
    const told = record(c.room, 'participant', 'track');

    await event(c, 'room.participant', { event: 'joined', participant: bob({ tracks: [], state: 'connecting' }) });
    await event(c, 'room.track', { event: 'published', participantId: 'bob-1', track: bobs(0, 'audio', 'microphone') });
    await event(c, 'room.track', { event: 'muted', participantId: 'bob-1', track: { trackId: 'bob-1:0', muted: true } });
    const who = c.room.participants.get('bob-1');
    assert.equal(who.track('microphone').muted, true);
    await event(c, 'room.participant', { event: 'connected', participant: bob({ tracks: undefined, name: 'Bob' }) });
    assert.equal(who.state, 'connected');
    assert.equal(who.name, 'Bob');
    assert.equal(who.tracks.size, 1);
    await event(c, 'room.track', { event: 'unpublished', participantId: 'bob-1', track: { trackId: 'bob-1:0' } });
    await event(c, 'room.participant', { event: 'left', participant: bob({ tracks: undefined }), reason: 'kicked' });
    assert.equal(c.room.participants.size, 0);
    assert.deepEqual(told.map((e) => `${e.type} ${e.event}`), ['participant joined', 'track published', 'track muted',
      'participant connected', 'track unpublished', 'participant left']);
    assert.equal(told.at(-1).reason, 'kicked');
  });

  test('the slot may be told before the track', async () => {
    const c = await joined({}, { participants: [bob({ tracks: [] })] });

    await event(c, 'room.slots', { slots: [{ mid: '3', trackId: 'bob-1:1', participantId: 'bob-1' }] });
    await event(c, 'room.track', { event: 'published', participantId: 'bob-1', track: bobs(1, 'video', 'camera') });
    assert.notEqual(c.room.participants.get('bob-1').track('camera').stream, null);
  });

  test('slots are told whole: what is not in the list is on none', async () => {
    const c = await joined({}, { participants: [bob()], slots: [{ mid: '3', trackId: 'bob-1:1' }] });
    const track = c.room.participants.get('bob-1').track('camera');
    const { stream } = track;

    await event(c, 'room.slots', { slots: [{ mid: '3' }, { mid: '4', trackId: 'bob-1:1' }] });
    assert.equal(track.mid, '4');
    assert.notEqual(track.stream, stream);
    await event(c, 'room.slots', { slots: [] });
    assert.equal(track.stream, null);
  });

  test('wishes are gathered, the last one of a track counts', async () => {
    const c = await joined({}, { participants: [bob()] });
    const track = c.room.participants.get('bob-1').track('camera');

    track.setLayer('high');
    track.setLayer('low', { priority: 7 });
    await c.clock.advance(30);
    const wish = c.socket.read('room.subscribe');
    assert.deepEqual(wish.data.tracks, [{ trackId: 'bob-1:1', wanted: true, layer: 0, priority: 7 }]);
    await c.reply(wish, { slots: [{ mid: '3', trackId: 'bob-1:1' }] });
    assert.equal(track.mid, '3');
    track.setLayer('off');
    await c.clock.advance(30);
    assert.deepEqual(c.socket.read('room.subscribe').data.tracks, [{ trackId: 'bob-1:1', wanted: false }]);
    track.setLayer('auto');
    await c.clock.advance(30);
    assert.deepEqual(c.socket.read('room.subscribe').data.tracks, [{ trackId: 'bob-1:1', wanted: true, layer: 'auto' }]);
  });

  test('the layer that comes, and why nothing does', async () => {
    const c = await joined({}, { participants: [bob()], slots: [{ mid: '3', trackId: 'bob-1:1' }] });
    const track = c.room.participants.get('bob-1').track('camera');
    const told = record(c.room, 'layers');

    await event(c, 'room.layers', { mid: '3', layer: 2, temporal: 2, paused: false });
    assert.equal(track.layer, 2);
    await event(c, 'room.layers', { mid: '3', paused: true, reason: 'bandwidth' });
    assert.deepEqual([track.layer, track.paused, track.reason], [null, true, 'bandwidth']);
    assert.equal(told[1].track, track);
  });

  test('layers and slots in any order: the last list of slots says how each picture is', async () => {
    const c = await joined({}, {
      participants: [bob(), { ...bob(), participantId: 'carol-1', user: 'carol', tracks: [{ ...bobs(1, 'video', 'camera'), trackId: 'carol-1:1' }] }],
      slots: [{ mid: '3', trackId: 'bob-1:1', participantId: 'bob-1', paused: true, reason: 'source' }, { mid: '2' }],
    });
    const [ofBob, ofCarol] = ['bob-1', 'carol-1'].map((id) => c.room.participants.get(id).track('camera'));

    assert.deepEqual([ofBob.mid, ofBob.paused, ofBob.reason], ['3', true, 'source']);
    // Carol takes Bob's place; her layer is told before that she has it.
    await event(c, 'room.layers', { mid: '3', layer: 1, paused: false });
    await event(c, 'room.slots', { slots: [{ mid: '3', trackId: 'carol-1:1', participantId: 'carol-1', layer: 1, paused: false }] });
    assert.deepEqual([ofCarol.mid, ofCarol.layer, ofCarol.paused], ['3', 1, false]);
    // And he comes back, while his picture was never told of on a slot that he has.
    await event(c, 'room.layers', { mid: '3', paused: true, reason: 'bandwidth' });
    await event(c, 'room.slots', { slots: [{ mid: '3', trackId: 'bob-1:1', participantId: 'bob-1', layer: 2, paused: false }] });
    assert.deepEqual([ofBob.layer, ofBob.paused, ofBob.reason], [2, false, '']);
    // Told before the track is known at all.
    await event(c, 'room.slots', { slots: [{ mid: '3', trackId: 'dave-1:1', participantId: 'dave-1', paused: true, reason: 'source' }] });
    await event(c, 'room.layers', { mid: '3', layer: 0, paused: false });
    await event(c, 'room.participant', {
      event: 'joined',
      participant: { ...bob(), participantId: 'dave-1', user: 'dave', tracks: [{ ...bobs(1, 'video', 'camera'), trackId: 'dave-1:1' }] },
    });
    assert.deepEqual([c.room.participants.get('dave-1').track('camera').layer, c.room.participants.get('dave-1').track('camera').paused], [0, false]);
  });

  test('more pictures than slots: more are offered; and when the server asks', async () => {
    const c = await joined({}, { participants: [bob()] });
    const pc = c.peers[0];

    for (const user of ['carol', 'dave'])
      await event(c, 'room.participant', {
        event: 'joined',
        participant: { ...bob(), participantId: user, user, tracks: [{ ...bobs(1, 'video', 'camera'), trackId: `${user}:1` }] },
      });
    await c.settle();
    const offer = c.socket.read('room.offer');
    assert.equal(pc.getTransceivers().filter((t) => t.kind === 'video').length, 6);
    await c.reply(offer, answer(offer));
    await event(c, 'room.negotiate', { reason: 'need_slots', need: { audio: 2, video: 0 } });
    await c.settle();
    c.socket.read('room.offer');
    assert.equal(pc.getTransceivers().filter((t) => t.kind === 'audio' && t.direction === 'recvonly').length, 4);
  });

  test('speakers and quality', async () => {
    const c = await joined({}, { participants: [bob()] });
    const told = record(c.room, 'speakers', 'quality');

    await c.socket.say({ type: 'room.speakers', roomId: 'team', data: { dominant: 'bob-1', speakers: [{ participantId: 'bob-1', level: 20 }, { participantId: 'me-1', level: 40 }, { participantId: 'gone', level: 1 }] } });
    const who = c.room.participants.get('bob-1');
    assert.deepEqual(c.room.speakers.map((p) => p.user), ['bob', 'alice']);
    assert.equal(c.room.dominant, who);
    assert.equal(Math.round(who.level * 1000), 100);
    await c.socket.say({ type: 'room.speakers', roomId: 'team', data: { speakers: [] } });
    assert.equal(who.speaking, false);
    assert.equal(c.room.dominant, null);
    await c.socket.say({ type: 'room.quality', roomId: 'team', data: { participants: [{ participantId: 'bob-1', score: 4, mos: 4.1 }] } });
    assert.deepEqual(who.quality, { score: 4, mos: 4.1 });
    assert.deepEqual(told.map((e) => e.type), ['speakers', 'speakers', 'quality']);
  });

  test('what an admin does', async () => {
    const c = await joined({}, { participants: [bob()], permissions: { ...ALLOWED, admin: true } });
    const who = c.room.participants.get('bob-1');
    const acts = [
      [c.room.muteTrack(who.track('microphone')), 'room.mute', { trackId: 'bob-1:0', muted: true }],
      [c.room.kick(who, { ban: true }), 'room.kick', { participantId: 'bob-1', ban: true }],
      [c.room.permit(who, { role: 'viewer' }), 'room.update', { participantId: 'bob-1', role: 'viewer' }],
      [c.room.update({ metadata: { hand: true } }), 'room.update', { metadata: { hand: true } }],
      [c.room.close(), 'room.close', {}],
    ];

    for (const [done, type, data] of acts) {
      const request = c.socket.read(type);
      assert.deepEqual(request.data, data);
      await c.reply(request);
      await done;
    }
  });

  test('our permissions change', async () => {
    const c = await joined();

    await event(c, 'room.participant', {
      event: 'updated', participant: { participantId: 'me-1', role: 'admin', permissions: { ...ALLOWED, admin: true } },
    });
    assert.equal(c.room.permissions.admin, true);
    assert.equal(c.room.me.role, 'admin');
    assert.equal(c.room.participants.size, 0);
  });

  test('put out', async () => {
    const c = await joined();
    const closed = record(c.room, 'closed');

    await event(c, 'room.closed', { reason: 'kicked' });
    assert.equal(closed[0].reason, 'kicked');
    assert.equal(c.peers[0].closed, true);
    assert.equal(c.socket.sent('room.leave').length, 0);
  });
});

describe('data', () => {
  const open = (c, i = 0) => {
    c.peers[0].channels[i].readyState = 'open';
    c.peers[0].channels[i].onopen();
  };

  test('text waits for the channel, lossy text does not', async () => {
    const c = await joined({}, { participants: [bob()] });
    const [sori, lossy] = c.peers[0].channels;

    c.room.sendData({ text: 'hi' }, { topic: 'chat' });
    c.room.sendData(1, { lossy: true });
    open(c, 0);
    open(c, 1);
    c.room.sendData(2, { to: [c.room.participants.get('bob-1')], lossy: true });
    assert.deepEqual(sori.sent.map(JSON.parse), [{ topic: 'chat', payload: { text: 'hi' } }]);
    assert.deepEqual(lossy.sent.map(JSON.parse), [{ to: ['bob-1'], topic: '', payload: 2 }]);
  });

  test('bytes', async () => {
    const c = await joined();

    open(c);
    c.room.sendData(new Uint8Array([9, 8]), { to: ['bob-1'] });
    assert.deepEqual([...c.peers[0].channels[0].sent[0]], [1, 5, 98, 111, 98, 45, 49, 9, 8]);
    assert.deepEqual([...packBinary(new Uint8Array([7]))], [0, 7]);
    assert.deepEqual(unpackBinary(new Uint8Array([3, 98, 111, 98, 1, 2])), { from: 'bob', payload: new Uint8Array([1, 2]) });
    assert.equal(unpackBinary(new Uint8Array([3, 98])), null);
    assert.equal(unpackBinary(new Uint8Array([])), null);
  });

  test('what comes, and what is malformed', async () => {
    const c = await joined({}, { participants: [bob()] });
    const got = record(c.room, 'data');
    const [sori, lossy] = c.peers[0].channels;

    sori.onmessage({ data: '{"from":"bob-1","topic":"chat","payload":{"text":"yes"}}' });
    lossy.onmessage({ data: new Uint8Array([5, 98, 111, 98, 45, 49, 1]).buffer });
    sori.onmessage({ data: 'no json' });
    sori.onmessage({ data: '{}' });
    sori.onmessage({ data: new Uint8Array([200, 1]).buffer });
    assert.equal(got.length, 2);
    assert.deepEqual([got[0].participant.user, got[0].topic, got[0].payload, got[0].lossy], ['bob', 'chat', { text: 'yes' }, false]);
    assert.deepEqual([got[1].from, [...got[1].payload], got[1].lossy], ['bob-1', [1], true]);
  });

  test('too much that waits is refused', async () => {
    const c = await joined();

    for (let i = 0; i < 64; i++) c.room.sendData(i);
    assert.throws(() => c.room.sendData(64), { code: 'busy_link' });
    open(c);
    assert.equal(c.peers[0].channels[0].sent.length, 64);
    c.peers[0].channels[0].bufferedAmount = 2 ** 21;
    assert.throws(() => c.room.sendData(65), { code: 'busy_link' });
  });
});

describe('coming back', () => {
  /** Media is up. */
  async function active(options, fields) {
    const c = await joined(options, fields);

    c.peers[0].become('connected');
    c.socket.got.length = 0;
    return c;
  }

  test('media gone for two seconds: ICE restart', async () => {
    const c = await active();

    c.peers[0].become('disconnected');
    assert.equal(c.room.state, 'reconnecting');
    await c.clock.advance(1999);
    assert.equal(c.socket.sent('room.offer').length, 0);
    await c.clock.advance(1);
    const offer = c.socket.read('room.offer');
    assert.equal(c.peers[0].restarts, 1);
    assert.equal(offer.data.fresh, undefined);
    await c.reply(offer, answer(offer));
    c.peers[0].become('connected');
    assert.equal(c.room.state, 'active');
    await c.clock.advance(10000);
    assert.equal(c.socket.sent('room.offer').length, 0);
  });

  test('it came back by itself in time', async () => {
    const c = await active();

    c.peers[0].become('disconnected');
    await c.clock.advance(1000);
    c.peers[0].become('connected');
    await c.clock.advance(10000);
    assert.equal(c.socket.sent('room.offer').length, 0);
  });

  test('restarts that do not help are followed by a new RTCPeerConnection', async () => {
    const c = await active({ video: true });

    c.peers[0].become('failed');
    for (let i = 0; i < 3; i++) {
      await c.clock.advance(i === 0 ? 0 : 4000);
      const offer = c.socket.read('room.offer');
      assert.equal(offer.data.fresh, undefined);
      await c.reply(offer, answer(offer));
    }
    await c.clock.advance(4000);
    const fresh = c.socket.read('room.offer');
    assert.equal(fresh.data.fresh, true);
    assert.deepEqual(fresh.data.tracks.map((t) => t.source), ['microphone', 'camera']);
    assert.equal(c.peers.length, 2);
    assert.equal(c.peers[0].closed, true);
    await c.reply(fresh, answer(fresh));
    c.peers[1].become('connected');
    assert.equal(c.room.state, 'active');
    assert.equal(c.media.opened.length, 2);
  });

  test('relay credentials are renewed before an ICE restart', async () => {
    const c = await joined({}, { iceServers: SERVERS });
    const newer = [{ ...SERVERS[0], credential: 'newer' }];

    c.peers[0].become('connected');
    await c.settle();
    await c.reply(c.socket.read('turn.credentials'), { iceServers: SERVERS, ttlMs: 600000 });
    c.room.restartIce();
    await c.settle();
    assert.equal(c.socket.sent('room.offer').length, 0);
    await c.reply(c.socket.read('turn.credentials'), { iceServers: newer, ttlMs: 600000 });
    c.socket.read('room.offer');
    assert.deepEqual(c.peers[0].configuration.iceServers, newer);
  });

  test('the SFU is gone: a fresh offer, nobody leaves, all tracks come again', async () => {
    const c = await active({}, { participants: [bob()], slots: [{ mid: '3', trackId: 'bob-1:1' }] });
    const told = record(c.room, 'participant', 'track');

    await event(c, 'room.restart', { reason: 'sfu_lost' });
    assert.equal(c.room.state, 'reconnecting');
    assert.equal(c.room.participants.get('bob-1').tracks.size, 0);
    await c.clock.advance(0);
    const fresh = c.socket.read('room.offer');
    assert.equal(fresh.data.fresh, true);
    await c.reply(fresh, answer(fresh));
    await event(c, 'room.track', { event: 'published', participantId: 'bob-1', track: bobs(7, 'video', 'camera') });
    assert.deepEqual(told.map((e) => `${e.type} ${e.event}`), ['track unpublished', 'track unpublished', 'track published']);
    c.peers[1].become('connected');
    assert.equal(c.room.state, 'active');
  });

  test('no SFU for a while: tried again, with patience', async () => {
    const c = await active();

    await event(c, 'room.restart', { reason: 'sfu_lost' });
    await c.clock.advance(0);
    await c.refuse(c.socket.read('room.offer'), 'sfu.unavailable', { status: 503 });
    await c.clock.advance(999);
    assert.equal(c.socket.sent('room.offer').length, 0);
    await c.clock.advance(1);
    const fresh = c.socket.read('room.offer');
    await c.reply(fresh, answer(fresh));
    assert.equal(c.peers.length, 3);
  });

  test('only our media is gone: the others and their tracks stay', async () => {
    const c = await active({}, { participants: [bob()] });

    await event(c, 'room.restart', { reason: 'media_lost' });
    assert.equal(c.room.participants.get('bob-1').tracks.size, 2);
    await c.clock.advance(0);
    assert.equal(c.socket.read('room.offer').data.fresh, true);
  });

  test('the server asks for an ICE restart', async () => {
    const c = await active();

    await event(c, 'room.negotiate', { reason: 'ice_restart' });
    await c.settle();
    c.socket.read('room.offer');
    assert.equal(c.peers[0].restarts, 1);
  });

  test('the socket breaks and is resumed: the room goes on, and hears how things are', async () => {
    const c = await active({}, { participants: [bob()] });
    const told = record(c.room, 'participant');

    c.socket.end(1006);
    await c.clock.advance(0);
    await c.hello();
    await c.welcome({ resumed: true, lastSeq: 2 });
    assert.equal(c.socket.sent('room.offer').length, 0);
    assert.equal(c.socket.sent('room.join').length, 0);
    await event(c, 'room.state', {
      full: true, participants: [{ ...bob(), participantId: 'carol-1', user: 'carol', tracks: [] }], slots: [], tracks: [],
    });
    assert.deepEqual(told.map((e) => `${e.event} ${e.participant.user}`), ['left bob', 'joined carol']);
    await event(c, 'room.state', {
      full: false, participants: [{ ...bob(), participantId: 'dave-1', user: 'dave', tracks: [] }],
    });
    assert.equal(c.room.participants.size, 2);
  });

  test('the network moved: ICE restart when the socket is back', async () => {
    const c = await active();

    c.window.fire('online');
    await c.hello();
    await c.welcome({ resumed: true, lastSeq: 2 });
    await c.settle();
    assert.equal(c.peers[0].restarts, 1);
    c.socket.read('room.offer');
  });

  test('the session is gone: joined again with the same tracks, participants compared', async () => {
    const c = await active({}, { participants: [bob()] });
    const told = record(c.room, 'participant');

    c.socket.end(1006);
    await c.clock.advance(0);
    await c.hello();
    await c.welcome({ resumed: false });
    await c.clock.advance(0);
    const join = c.socket.read('room.join');
    await c.reply(join, answer(join, {
      participantId: 'me-2', participants: [bob(), { ...bob(), participantId: 'carol-1', user: 'carol', tracks: [] }],
    }));
    assert.equal(c.room.me.id, 'me-2');
    assert.deepEqual(told.map((e) => `${e.event} ${e.participant.user}`), ['updated bob', 'joined carol']);
    assert.equal(c.media.opened.length, 1);
    c.peers[1].become('connected');
    assert.equal(c.room.state, 'active');
  });

  test('the room does not know us any more: joined again; forbidden: over', async () => {
    const c = await active();
    const closed = record(c.room, 'closed');

    c.room.restartIce();
    await c.settle();
    await c.refuse(c.socket.read('room.offer'), 'room.not_found');
    await c.clock.advance(0);
    await c.refuse(c.socket.read('room.join'), 'room.forbidden');
    assert.equal(closed[0].reason, 'room.forbidden');
    assert.deepEqual(c.sori.rooms, []);
  });

  test('a join takes the place of what this device was before', async () => {
    const c = await asking();
    const join = c.socket.read('room.join');

    await event(c, 'room.closed', { reason: 'replaced' }); // the participant of the page before the reload
    await c.reply(join, answer(join));
    const room = await c.joining;
    assert.equal(room.state, 'connecting');
    await event(c, 'room.closed', { reason: 'replaced' }); // by another tab with our device id
    assert.equal(room.state, 'closed');
  });

  test('two reasons to come back, one join', async () => {
    const c = await active();

    await event(c, 'room.restart', { reason: 'sfu_lost' });
    await c.clock.advance(0);
    assert.equal(c.socket.read('room.offer').data.fresh, true);
    c.socket.end(1006); // before the answer
    await c.clock.advance(0);
    await c.hello();
    await c.welcome({ resumed: false });
    await c.clock.advance(20_000);
    const again = c.socket.read('room.offer'); // repeated, as all that was not answered
    await c.refuse(again, 'room.not_found');
    await c.clock.advance(20_000);
    const joins = c.socket.sent('room.join');
    assert.equal(joins.length, 1);
    await c.reply(joins[0], answer(joins[0]));
    c.peers.at(-1).become('connected');
    await c.clock.advance(20_000);
    assert.equal(c.socket.sent('room.join').length, 1);
    assert.equal(c.room.state, 'active');
  });

  test('no more slots than the room allows', async () => {
    const c = await joined({}, {
      room: { roomId: 'team', limits: { ...LIMITS, slots: 5 } },
      participants: ['a', 'b', 'c', 'd'].map((user) => ({ ...bob(), participantId: user, user, tracks: [{ ...bobs(1, 'video', 'camera'), trackId: `${user}:1` }] })),
    });

    await c.settle();
    const offer = c.socket.read('room.offer');
    assert.equal(mediaMids(offer.data.offer.sdp).length, 6); // ours and five
    await c.reply(offer, answer(offer));
    await event(c, 'room.negotiate', { reason: 'need_slots', need: { audio: 3, video: 3 } });
    await c.settle();
    assert.equal(c.peers[0].getTransceivers().length, 6);
  });

  test('stopping the library closes the room', async () => {
    const c = await active();
    const closed = record(c.room, 'closed');

    c.socket.end(4409);
    await c.settle();
    assert.equal(closed[0].reason, 'connection_lost');
  });
});

describe('rooms and calls', () => {
  const CALL = '0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d6e7f';

  test('ringing somebody in: told step by step', async () => {
    const c = await joined();
    const told = record(c.room, 'invite');
    const inviting = c.room.invite(['bob', 'nobody']);

    await c.reply(c.socket.read('room.invite'), {
      invites: [{ user: 'bob', callId: CALL }], failed: [{ user: 'nobody', code: 'callee.unreachable' }],
    });
    assert.deepEqual(await inviting, [{ user: 'nobody', code: 'callee.unreachable' }]);
    await c.say({ type: 'call.ringing', callId: CALL, from: 'bob' });
    await c.say({ type: 'call.accepted', callId: CALL, from: 'bob', data: { roomId: 'team' } });
    await c.say({ type: 'call.ended', callId: CALL, data: { reason: 'room_migrated', sipCode: 200 } });
    assert.deepEqual(told.map((e) => e.state), ['inviting', 'ringing', 'accepted']);
    assert.equal(c.room.invites.size, 0);
    assert.equal(c.sori.calls.length, 0);
  });

  test('an invitation that is declined, and one that is taken back', async () => {
    const c = await joined();
    const told = record(c.room, 'invite');
    const inviting = c.room.invite(['bob', 'carol']);

    await c.reply(c.socket.read('room.invite'), { invites: [{ user: 'bob', callId: CALL }, { user: 'carol', callId: 'x' }], failed: [] });
    await inviting;
    await c.say({ type: 'call.ended', callId: CALL, data: { reason: 'declined', sipCode: 603 } });
    assert.deepEqual([told.at(-1).user, told.at(-1).reason], ['bob', 'declined']);
    c.room.cancelInvite([...c.room.invites.values()][0]);
    assert.equal(c.socket.read('call.cancel').callId, 'x');
  });

  test('being rung into a room: accept() ends the call, then joinRoom()', async () => {
    const c = new WebClient();
    const incoming = record(c.sori, 'incoming');

    await c.online();
    await c.say({
      type: 'call.incoming', callId: CALL, from: 'bob', fromDevice: 'phone',
      data: { room: { roomId: 'team', participants: [{ user: 'bob' }], count: 1 }, metadata: {}, expiresInMs: 30000, iceServers: [], callWaiting: false },
    });
    const { call } = incoming[0];
    assert.equal(call.room.roomId, 'team');
    await c.reply(c.socket.read('call.ringing'));
    const accepting = call.accept();
    const request = c.socket.read('call.answer');
    assert.equal(request.data.answer, undefined);
    await c.reply(request, { state: 'ended', roomId: 'team', iceServers: [] });
    await accepting;
    assert.deepEqual([call.state, call.end.reason, call.end.missed], ['ended', 'room_migrated', false]);
    assert.equal(c.media.opened.length, 0);
  });

  test('an invitation still rings after a reload', async () => {
    const c = new WebClient();
    const incoming = record(c.sori, 'incoming');

    await c.online({
      activeCalls: [{
        callId: CALL, state: 'ringing', role: 'callee', peer: 'bob', isVideo: false, expiresInMs: 9000, selected: false,
        room: { roomId: 'team', participants: [], count: 3 },
      }],
    });
    assert.equal(incoming[0].call.room.count, 3);
  });

  test('a call that moves goes on until the room is heard, or has been silent for a second', async () => {
    for (const plays of [true, false]) {
      const c = new WebClient();
      const incoming = record(c.sori, 'incoming');

      await c.online();
      await c.say({
        type: 'call.incoming', callId: CALL, from: 'bob', fromDevice: 'phone',
        data: { offer: { type: 'offer', sdp: 'o' }, metadata: {}, expiresInMs: 30000, iceServers: [], callWaiting: false },
      });
      const { call } = incoming[0];
      const accepting = call.accept();
      await c.settle();
      await c.reply(c.socket.read('call.answer'), { state: 'connecting', iceServers: [] });
      await accepting;
      const moving = call.upgrade();
      await c.reply(c.socket.read('call.upgrade'), { roomId: 'team' });
      await c.settle();
      const join = c.socket.read('room.join');
      await c.reply(join, answer(join, { participants: [bob()] }));
      await moving;
      let samples = 0;
      c.peers[1].getStats = async () => new Map([['in', { type: 'inbound-rtp', kind: 'audio', jitterBufferEmittedCount: samples }]]);
      await c.say({ type: 'call.ended', callId: CALL, data: { reason: 'room_migrated', sipCode: 200 } });
      await c.clock.advance(200);
      assert.notEqual(call.state, 'ended');
      if (plays) samples = 4800;
      await c.clock.advance(plays ? 50 : 700);
      assert.equal(call.state === 'ended', plays);
      await c.clock.advance(150);
      assert.equal(call.end.reason, 'room_migrated');
    }
  });

  test('a call moves to a room with copies of its tracks, once', async () => {
    const c = new WebClient();
    const incoming = record(c.sori, 'incoming');

    await c.online();
    await c.say({
      type: 'call.incoming', callId: CALL, from: 'bob', fromDevice: 'phone',
      data: { offer: { type: 'offer', sdp: 'o' }, metadata: {}, expiresInMs: 30000, iceServers: [], callWaiting: false },
    });
    const { call } = incoming[0];
    const accepting = call.accept();
    await c.settle();
    await c.reply(c.socket.read('call.answer'), { state: 'connecting', iceServers: [] });
    await accepting;
    const asked = record(call, 'upgrade');
    await c.say({ type: 'call.upgrade', callId: CALL, from: 'bob', data: { roomId: 'team' } });
    assert.equal(asked[0].roomId, 'team');
    const moving = call.upgrade();
    assert.equal(call.upgrade(), moving);
    await c.reply(c.socket.read('call.upgrade'), { roomId: 'team' });
    await c.settle();
    const join = c.socket.read('room.join');
    await c.reply(join, answer(join));
    const room = await moving;
    assert.equal(c.media.opened.length, 1);
    assert.notEqual(room.localTrack('microphone').track, c.media.opened[0]);
    await c.say({ type: 'call.ended', callId: CALL, data: { reason: 'room_migrated', sipCode: 200 } });
    assert.equal(call.end.reason, 'room_migrated'); // nobody is in the room who could be heard
    assert.equal(c.media.opened[0].readyState, 'live'); // the other side may still listen here
    assert.equal(c.peers[0].closed, false);
    await c.clock.advance(500);
    assert.equal(c.media.opened[0].readyState, 'ended');
    assert.equal(c.peers[0].closed, true);
    assert.equal(room.localTrack('microphone').track.readyState, 'live');
    room.leave();
    assert.equal(room.end.reason, 'left');
  });
});

describe('descriptions', () => {
  const SDP = ['v=0\r\n', 'm=audio 9 UDP/TLS/RTP/SAVPF 63 111\r\na=mid:a0\r\na=rtpmap:63 red/48000/2\r\na=rtpmap:111 opus/48000/2\r\n',
    'm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:d\r\n', 'm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:v0\r\na=rtpmap:96 VP8/90000\r\n'];

  test('mids of the media sections in their order', () => {
    assert.deepEqual(mediaMids(SDP.join('')), ['a0', 'v0']);
  });

  test('Opus gets nack, once, and nothing else changes', () => {
    const munged = withOpusNack(SDP.join(''));

    assert.equal(munged, SDP.join('').replace('a=rtpmap:111', 'a=rtcp-fb:111 nack\r\na=rtpmap:111'));
    assert.equal(withOpusNack(munged), munged);
    assert.equal(withOpusNack(SDP[3]), SDP[3]);
  });

  test('codecs: one format of each, ours first, RED before Opus, RTX with video', () => {
    const codec = (mimeType, sdpFmtpLine, clockRate = 90000) => ({ mimeType, sdpFmtpLine, clockRate });
    const video = [codec('video/VP8'), codec('video/rtx'), codec('video/VP9', 'profile-id=0'), codec('video/VP9', 'profile-id=2'),
      codec('video/H264', 'level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f'),
      codec('video/H264', 'level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f'),
      codec('video/H264', 'level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f'), codec('video/red'), codec('video/ulpfec')];
    const names = (list) => list.map((x) => x.mimeType.split('/')[1].toLowerCase());

    assert.deepEqual(names(chooseCodecs('video', video)), ['vp8', 'h264', 'vp9', 'rtx']);
    assert.deepEqual(names(chooseCodecs('video', video, 'vp9')), ['vp9', 'vp8', 'h264', 'rtx']);
    const audio = [codec('audio/opus', '', 48000), codec('audio/red', '', 48000), codec('audio/G722', '', 8000), codec('audio/PCMU', '', 8000),
      codec('audio/telephone-event', '', 8000), codec('audio/telephone-event', '', 48000)];
    assert.deepEqual(names(chooseCodecs('audio', audio)), ['red', 'opus', 'pcmu', 'telephone-event']);
    assert.deepEqual(chooseCodecs('audio', []), []);
    assert.equal(cameraEncodings('av1').length, 1);
  });
});

describe('end-to-end encryption', () => {
  test('each sender and receiver gets its transform as soon as it is there', async () => {
    const asked = [];
    const c = await joined({ transform: (rtp, kind) => { asked.push([rtp, kind]); return kind === 'audio' ? { kind } : null; } });
    const transceivers = c.peers[0].getTransceivers();

    assert.deepEqual(asked.map(([rtp]) => rtp), transceivers.map((t, i) => (i === 0 ? t.sender : t.receiver)));
    assert.deepEqual(asked.map(([, kind]) => kind), ['audio', 'audio', 'audio', 'video', 'video']);
    assert.deepEqual(transceivers[0].sender.transform, { kind: 'audio' });
    assert.equal(transceivers[4].receiver.transform, undefined);
  });
});

describe('tiles', () => {
  test('the largest that fit', () => {
    assert.equal(bestGrid(1, 1000, 1000).columns, 1);
    assert.equal(bestGrid(4, 1600, 900).columns, 2);
    assert.equal(bestGrid(4, 300, 2000).columns, 1);
    for (let n = 1; n < 30; n++) {
      const g = bestGrid(n, 390, 700, [16 / 9, 1, 0.6]);
      const rows = Math.ceil(n / g.columns);
      assert.ok(g.columns * g.width + (g.columns - 1) * 10 <= 390 && rows * g.height + (rows - 1) * 10 <= 700, `${n}`);
    }
  });
});

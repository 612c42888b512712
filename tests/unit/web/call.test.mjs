/**
 * Calls of server/web/sori.js before a scripted server: ringing, one winner, glare, negotiation,
 * holding, ICE restart, recovery after a reload (docs/SIGNALING.md §5).
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { record, WebClient } from '../../lib/web_client.mjs';

const ID = '0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d6e7f';
const OFFER = { type: 'offer', sdp: 'their offer' };
const ANSWER = { type: 'answer', sdp: 'their answer' };
const SERVERS = [{ urls: ['turn:turn.example:3478?transport=udp'], username: 'u', credential: 'c' }];

/** A client that is online. */
async function client(options) {
  const c = new WebClient(options);

  c.incoming = record(c.sori, 'incoming');
  await c.online();
  return c;
}

/** Bob calls us. */
async function ringing(c, { id = ID, from = 'bob', ...data } = {}) {
  await c.say({
    type: 'call.incoming', callId: id, from, fromDevice: 'phone', ts: 1,
    data: { offer: OFFER, metadata: { isVideo: false }, expiresInMs: 30000, iceServers: SERVERS, callWaiting: false, ...data },
  });
  return c.incoming.at(-1)?.call;
}

/** We have accepted Bob's call, and the server has said that we are the one. */
async function answered(c, how) {
  const call = await ringing(c);
  const accepting = call.accept(how);

  await c.settle();
  await c.reply(c.socket.read('call.answer'), { state: 'connecting', iceServers: SERVERS });
  await accepting;
  return call;
}

/** We call Bob, and he has accepted. */
async function accepted(c, how) {
  const call = await c.sori.call('bob', how);

  await c.settle();
  await c.reply(c.socket.read('call.invite'), {
    state: 'inviting', expiresInMs: 30000, devices: { online: 1, pushed: 0 }, iceServers: SERVERS,
  });
  await c.say({ type: 'call.ringing', callId: call.id, from: 'bob' });
  await c.say({ type: 'call.accepted', callId: call.id, from: 'bob', fromDevice: 'phone', data: { answer: ANSWER } });
  return call;
}

/** Answers turn.credentials: it comes when the media is up, before an ICE restart and before a new
 * connection. */
async function credentials(c, ttlMs = 600000) {
  await c.settle();
  await c.reply(c.socket.read('turn.credentials'), { iceServers: SERVERS, ttlMs });
}

/** Media is up. */
async function up(c, ttlMs) {
  c.peers.at(-1).become('connected');
  await credentials(c, ttlMs);
}

describe('calling', () => {
  test('dialing, inviting, ringing, connecting, active', async () => {
    const c = await client();
    const call = await c.sori.call('bob', { custom: { ticket: 7 }, ringTimeoutMs: 9000 });
    const states = record(call, 'state');

    await c.settle();
    const invite = c.socket.read('call.invite');
    assert.equal(call.state, 'dialing');
    assert.equal(invite.to, 'bob');
    assert.match(invite.callId, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.deepEqual(invite.data.metadata, { isVideo: false, timestamp: c.clock.now(), custom: { ticket: 7 } });
    assert.equal(invite.data.ringTimeoutMs, 9000);
    await c.reply(invite, { state: 'inviting', iceServers: SERVERS });
    assert.equal(call.state, 'inviting');
    await c.say({ type: 'call.ringing', callId: call.id });
    assert.equal(call.state, 'ringing');
    await c.say({ type: 'call.accepted', callId: call.id, data: { answer: ANSWER } });
    assert.equal(call.state, 'connecting');
    assert.deepEqual(c.peers[0].remoteDescription, ANSWER);
    c.peers[0].become('connected');
    assert.equal(call.state, 'active');
    assert.equal(call.startedAt, c.clock.now());
    assert.equal(states.length, 4);
    assert.deepEqual(c.socket.read('call.state').data, { connectionState: 'connected' });
  });

  test('gathers with the ICE servers of the reply, and holds candidates until then', async () => {
    const c = await client();
    const call = await c.sori.call('bob');

    await c.settle();
    assert.equal(c.peers[0].localDescription, null);
    await c.reply(c.socket.read('call.invite'), { state: 'inviting', iceServers: SERVERS });
    assert.deepEqual(c.peers[0].configuration.iceServers, SERVERS);
    assert.equal(c.peers[0].localDescription.type, 'offer');
    for (let i = 0; i < 40; i++) c.peers[0].find(`candidate:${i}`);
    c.peers[0].find(null);
    await c.clock.advance(50);
    const batches = c.socket.sent('call.candidates').map((m) => m.data.candidates);
    assert.deepEqual(batches.map((b) => b.length), [32, 9]);
    assert.deepEqual(batches[1].at(-1), { candidate: '' });
    call.hangup();
  });

  test('relayOnly reaches the RTCPeerConnection', async () => {
    const c = await client({ relayOnly: true });

    await accepted(c);
    assert.equal(c.peers[0].configuration.iceTransportPolicy, 'relay');
  });

  for (const [code, reason] of [['call.busy', 'busy'], ['callee.unreachable', 'unreachable'],
    ['forbidden', 'forbidden'], ['rate_limited', 'server_error']])
    test(`${code} ends it as ${reason}`, async () => {
      const c = await client();
      const call = await c.sori.call('bob');

      await c.settle();
      await c.refuse(c.socket.read('call.invite'), code);
      assert.equal(call.state, 'ended');
      assert.equal(call.end.reason, reason);
      assert.ok(c.media.opened.every((track) => track.readyState === 'ended'));
      assert.ok(c.peers[0].closed);
    });

  test('hangup while it rings is a cancel, later a hangup', async () => {
    const c = await client();
    const first = await c.sori.call('bob');

    await c.settle();
    await c.reply(c.socket.read('call.invite'), { state: 'inviting', iceServers: [] });
    first.hangup();
    assert.equal(c.socket.read('call.cancel').callId, first.id);
    assert.equal(first.end.reason, 'cancelled');
    const second = await accepted(c);
    second.hangup();
    assert.equal(c.socket.read('call.hangup').callId, second.id);
    assert.equal(second.end.reason, 'hangup');
  });

  test('while offline it is not placed for more than 10 s', async () => {
    const c = await client();

    c.socket.end(1006);
    const failed = assert.rejects(c.sori.call('bob'), (e) => e.code === 'offline');
    await c.clock.advance(10_000);
    await failed;
    assert.deepEqual(c.sori.calls, []);
  });

  test('a refused microphone is thrown, and nothing was sent', async () => {
    const c = await client();

    c.media.getUserMedia = async () => { throw new DOMException('no', 'NotAllowedError'); };
    await assert.rejects(c.sori.call('bob'), { name: 'NotAllowedError' });
    assert.equal(c.socket.sent('call.invite').length, 0);
    assert.deepEqual(c.sori.calls, []);
  });
});

describe('being called', () => {
  test('confirms at once, answers on accept, and shows nothing of itself before', async () => {
    const c = await client();
    const call = await ringing(c);

    assert.equal(c.socket.read('call.ringing').callId, ID);
    assert.equal(call.peer, 'bob');
    assert.equal(call.state, 'incoming');
    assert.equal(c.peers.length, 0);
    assert.equal(c.media.opened.length, 0);
    const accepting = call.accept();
    await c.settle();
    c.peers[0].find('candidate:1');
    await c.clock.advance(100);
    assert.equal(c.socket.sent('call.candidates').length, 0);
    const answer = c.socket.read('call.answer');
    assert.equal(answer.data.answer.type, 'answer');
    await c.reply(answer, { state: 'connecting', iceServers: SERVERS });
    await accepting;
    assert.equal(c.socket.sent('call.candidates').length, 1);
    assert.equal(call.state, 'connecting');
  });

  test('a call id that is known rings once', async () => {
    const c = await client();

    await ringing(c);
    await ringing(c);
    c.incoming[0].call.reject();
    await ringing(c);
    assert.equal(c.incoming.length, 1);
  });

  test('candidates that come while it rings are kept for the answer', async () => {
    const c = await client();
    const call = await ringing(c);

    await c.say({ type: 'call.candidates', callId: ID, data: { candidates: [{ candidate: 'a' }, { candidate: 'b' }] } });
    call.accept();
    await c.settle();
    assert.deepEqual(c.peers[0].candidates.map((x) => x.candidate), ['a', 'b']);
  });

  test('stops ringing by itself at expiresInMs, as missed', async () => {
    const c = await client();
    const call = await ringing(c, { expiresInMs: 5000 });

    await c.clock.advance(4_999);
    assert.equal(call.state, 'incoming');
    await c.clock.advance(1);
    assert.deepEqual([call.end.reason, call.end.missed], ['timeout', true]);
  });

  test('answered on another device: it stops ringing and is not missed', async () => {
    const c = await client();
    const call = await ringing(c);

    await c.say({
      type: 'call.ended', callId: ID,
      data: { reason: 'answered_elsewhere', by: 'alice', deviceId: 'tablet', sipCode: 200, durationMs: 0, missed: false },
    });
    assert.deepEqual([call.end.reason, call.end.missed, call.end.deviceId], ['answered_elsewhere', false, 'tablet']);
  });

  test('the loser of the race to answer is told who won', async () => {
    const c = await client();
    const call = await ringing(c);

    call.accept();
    await c.settle();
    await c.refuse(c.socket.read('call.answer'), 'call.already_answered', { details: { winner: 'tablet', state: 'active' } });
    assert.deepEqual([call.end.reason, call.end.deviceId], ['answered_elsewhere', 'tablet']);
    assert.ok(c.media.opened.every((track) => track.readyState === 'ended'));
  });

  test('an answer that came after the cancel gets the cancel', async () => {
    const c = await client();
    const call = await ringing(c);

    call.accept();
    await c.settle();
    await c.refuse(c.socket.read('call.answer'), 'call.ended', { details: { reason: 'cancelled' } });
    assert.deepEqual([call.end.reason, call.end.missed], ['cancelled', true]);
  });

  test('reject says scope and reason', async () => {
    const c = await client();
    const call = await ringing(c);

    call.reject({ reason: 'busy', scope: 'device' });
    assert.deepEqual(c.socket.read('call.reject').data, { reason: 'busy', scope: 'device' });
    assert.equal(call.end.reason, 'busy');
    await assert.rejects(call.accept(), { code: 'bad_state' });
  });

  test('a refused microphone leaves it ringing', async () => {
    const c = await client();
    const call = await ringing(c);
    const open = c.media.getUserMedia;

    c.media.getUserMedia = async () => { throw new DOMException('no', 'NotAllowedError'); };
    await assert.rejects(call.accept(), { name: 'NotAllowedError' });
    assert.equal(call.state, 'incoming');
    c.media.getUserMedia = open;
    call.accept();
    await c.settle();
    assert.equal(c.socket.sent('call.answer').length, 1);
  });
});

describe('glare', () => {
  const merged = { state: 'glare', mergedInto: ID, offer: OFFER, from: 'bob', fromDevice: 'phone', expiresInMs: 20000, iceServers: SERVERS };

  test('our call becomes theirs and is answered without ringing', async () => {
    const c = await client();
    const call = await c.sori.call('bob');

    await c.settle();
    const invite = c.socket.read('call.invite');
    await c.reply(invite, merged);
    const answer = c.socket.read('call.answer');
    assert.equal(answer.callId, ID);
    await c.reply(answer, { state: 'connecting', iceServers: SERVERS });
    assert.equal(call.id, ID);
    assert.deepEqual(c.sori.calls, [call]);
    assert.equal(c.incoming.length, 0);
    await c.say({ type: 'call.ended', callId: invite.callId, data: { reason: 'glare', missed: false } });
    c.peers.at(-1).become('connected');
    assert.equal(call.state, 'active');
  });

  test('their invite that overtakes the reply does not ring, and its candidates are used', async () => {
    const c = await client();
    const call = await c.sori.call('bob');

    await c.settle();
    const invite = c.socket.read('call.invite');
    await ringing(c);
    await c.say({ type: 'call.candidates', callId: ID, data: { candidates: [{ candidate: 'a' }] } });
    await c.reply(invite, merged);
    assert.equal(c.incoming.length, 0);
    assert.deepEqual(c.peers.at(-1).candidates, [{ candidate: 'a' }]);
    assert.equal(call.id, ID);
  });

  test('it rings when our invite was refused instead', async () => {
    const c = await client();

    await c.sori.call('bob');
    await c.settle();
    await ringing(c);
    assert.equal(c.incoming.length, 0);
    await c.refuse(c.socket.read('call.invite'), 'call.busy');
    assert.equal(c.incoming.length, 1);
    assert.equal(c.socket.sent('call.ringing').length, 1);
  });

  test('a call from somebody else rings meanwhile', async () => {
    const c = await client();

    await c.sori.call('bob');
    await c.settle();
    await ringing(c, { from: 'carol' });
    assert.equal(c.incoming.length, 1);
  });

  test('the merged side is polite: it takes their crossing offer', async () => {
    const c = await client();
    const call = await c.sori.call('bob');

    await c.settle();
    await c.reply(c.socket.read('call.invite'), merged);
    await c.reply(c.socket.read('call.answer'), { state: 'connecting', iceServers: SERVERS });
    call.setHold(true);
    await c.settle();
    const ours = c.socket.read('call.negotiate');
    await c.refuse(ours, 'call.glare');
    await c.say({ type: 'call.negotiate', callId: ID, data: { description: OFFER, negotiationId: 'n1' } });
    const answer = c.socket.read('call.negotiate');
    assert.deepEqual([answer.data.description.type, answer.data.negotiationId], ['answer', 'n1']);
    assert.equal(c.socket.read('call.negotiate').data.description.type, 'offer');
  });
});

describe('negotiation', () => {
  test('hold stops both directions and tells; resume starts them again', async () => {
    const c = await client();
    const call = await answered(c);

    call.setHold(true);
    await c.settle();
    assert.equal(c.peers[0].getTransceivers()[0].direction, 'inactive');
    assert.equal(c.socket.sent('call.info')[0].data.onHold, true);
    const offer = c.socket.read('call.negotiate');
    assert.equal(offer.data.description.type, 'offer');
    await c.reply(offer);
    await c.say({ type: 'call.negotiate', callId: ID, data: { description: ANSWER, negotiationId: offer.data.negotiationId } });
    assert.equal(c.peers[0].signalingState, 'stable');
    call.setHold(false);
    await c.settle();
    assert.equal(c.peers[0].getTransceivers()[0].direction, 'sendrecv');
    assert.equal(c.socket.sent('call.negotiate').length, 1);
  });

  test('mute is told and needs no negotiation', async () => {
    const c = await client();
    const call = await answered(c);

    call.setMuted(true);
    await c.settle();
    assert.equal(call.localStream.getAudioTracks()[0].enabled, false);
    assert.equal(c.socket.sent('call.info')[0].data.audioMuted, true);
    assert.equal(c.socket.sent('call.negotiate').length, 0);
  });

  test('camera on and off negotiate, and off releases the camera', async () => {
    const c = await client();
    const call = await answered(c);

    await call.setCamera(true);
    await c.settle();
    const offer = c.socket.read('call.negotiate');
    await c.say({ type: 'call.negotiate', callId: ID, data: { description: ANSWER, negotiationId: offer.data.negotiationId } });
    const [camera] = call.localStream.getVideoTracks();
    await call.setCamera(false);
    await c.settle();
    assert.equal(camera.readyState, 'ended');
    assert.equal(call.cameraOn, false);
    assert.equal(c.socket.sent('call.negotiate').length, 1);
  });

  test('hold and camera before the answer are refused', async () => {
    const c = await client();
    const call = await ringing(c);

    assert.throws(() => call.setHold(true), { code: 'bad_state' });
    await assert.rejects(call.setCamera(true), { code: 'bad_state' });
  });

  test('candidates behind an offer wait for it, though earlier ones wait too', async () => {
    const c = await client();
    const call = await accepted(c);
    const [pc] = c.peers;
    const real = pc.setRemoteDescription.bind(pc);

    pc.setRemoteDescription = async (d) => {
      await c.clock.settle(); // the browser takes its time
      await real(d);
    };
    pc.addIceCandidate = async ({ candidate }) => { pc.candidates.push([candidate, pc.remoteDescription.sdp]); };
    const send = (type, data) => c.socket.say({ seq: ++c.serverSeq, type, callId: call.id, data });
    send('call.negotiate', { description: { type: 'offer', sdp: 'one' }, negotiationId: 'n1' });
    send('call.candidates', { candidates: [{ candidate: 'a' }] });
    send('call.negotiate', { description: { type: 'offer', sdp: 'two' }, negotiationId: 'n2' });
    send('call.candidates', { candidates: [{ candidate: 'b' }] });
    for (let i = 0; i < 5; i++) await c.settle();
    assert.deepEqual(pc.candidates, [['a', 'one'], ['b', 'two']]);
  });

  test('the caller is impolite: a crossing offer is ignored', async () => {
    const c = await client();
    const call = await accepted(c);

    call.setHold(true);
    await c.settle();
    const ours = c.socket.read('call.negotiate');
    await c.say({ type: 'call.negotiate', callId: call.id, data: { description: OFFER, negotiationId: 'n1' } });
    assert.equal(c.socket.sent('call.negotiate').length, 0);
    await c.say({ type: 'call.negotiate', callId: call.id, data: { description: ANSWER, negotiationId: ours.data.negotiationId } });
    assert.equal(c.peers[0].signalingState, 'stable');
  });

  test('an answer to another offer is dropped', async () => {
    const c = await client();
    const call = await accepted(c);

    call.setHold(true);
    await c.settle();
    await c.say({ type: 'call.negotiate', callId: call.id, data: { description: ANSWER, negotiationId: 'old' } });
    assert.equal(c.peers[0].signalingState, 'have-local-offer');
  });

  test('an offer without an answer is taken back after 10 s and made again', async () => {
    const c = await client();
    const call = await accepted(c);

    call.setHold(true);
    await c.settle();
    const first = c.socket.read('call.negotiate');
    await c.clock.advance(10_000);
    const [rollback, second] = c.socket.sent('call.negotiate');
    assert.equal(rollback.data.description.type, 'rollback');
    assert.equal(rollback.data.negotiationId, first.data.negotiationId);
    assert.notEqual(second.data.negotiationId, first.data.negotiationId);
  });
});

describe('finding the way again', () => {
  const restartOf = async (c) => {
    await credentials(c);
    const offer = c.socket.read('call.negotiate');
    assert.equal(offer.data.iceRestart, true);
    return offer;
  };

  test('disconnected: the caller restarts ICE after 1.5 s', async () => {
    const c = await client();
    const call = await accepted(c);

    await up(c);
    c.peers[0].become('disconnected');
    assert.equal(call.state, 'reconnecting');
    await c.clock.advance(1_500);
    await restartOf(c);
    assert.equal(c.peers[0].restarts, 1);
    c.peers[0].become('connected');
    assert.equal(call.state, 'active');
  });

  test('media trouble makes us doubt the socket too', async () => {
    const c = await client();

    await accepted(c);
    await up(c);
    c.peers[0].become('disconnected');
    c.socket.read('ping');
    await c.clock.advance(3_000);
    assert.equal(c.sockets.length, 2);
  });

  test('it heals by itself: no restart', async () => {
    const c = await client();

    await accepted(c);
    await up(c);
    c.peers[0].become('disconnected');
    await c.clock.advance(1_000);
    c.peers[0].become('connected');
    await c.clock.advance(5_000);
    assert.equal(c.peers[0].restarts, 0);
  });

  test('failed while the server can not be reached: restart after the resume', async () => {
    const c = await client();
    const call = await accepted(c);

    await up(c);
    c.socket.end(1006);
    c.peers[0].become('failed');
    await c.clock.advance(0);
    await c.hello();
    assert.equal(c.peers[0].restarts, 0);
    await c.welcome({ resumed: true, lastSeq: 9, activeCalls: [{ callId: call.id, state: 'active', role: 'caller', peer: 'bob', selected: true }] });
    await restartOf(c);
  });

  test('the side whose network moved restarts, though its media still runs', async () => {
    const c = await client();
    const call = await answered(c);

    await up(c);
    c.connection.type = 'cellular';
    c.connection.fire('change');
    await c.hello();
    await c.welcome({ resumed: true, lastSeq: 9, activeCalls: [{ callId: ID, state: 'active', role: 'callee', peer: 'bob', selected: true }] });
    await restartOf(c);
    assert.equal(call.state, 'active');
  });

  test('no relay is configured: the restart goes on without', async () => {
    const c = await client();

    await accepted(c);
    c.peers[0].become('failed');
    await c.clock.advance(0);
    await c.refuse(c.socket.read('turn.credentials'), 'turn.unavailable');
    assert.equal(c.socket.read('call.negotiate').data.iceRestart, true);
  });

  test('relay credentials are renewed in time, with a restart where they are in use', async () => {
    const c = await client();

    await accepted(c);
    c.peers[0].getStats = async () => new Map([
      ['T', { id: 'T', type: 'transport', selectedCandidatePairId: 'P' }],
      ['P', { id: 'P', type: 'candidate-pair', localCandidateId: 'L', remoteCandidateId: 'R', currentRoundTripTime: 0.03, timestamp: 1 }],
      ['L', { id: 'L', type: 'local-candidate', candidateType: 'relay', protocol: 'udp', relayProtocol: 'tls' }],
      ['R', { id: 'R', type: 'remote-candidate', candidateType: 'host', protocol: 'udp' }],
    ]);
    await up(c, 60_000);
    c.socket.got.length = 0;
    await c.clock.advance(20_000);
    c.socket.say({ type: 'pong', data: {} });
    await c.clock.advance(24_900);
    assert.equal(c.socket.sent('turn.credentials').length, 0);
    await c.clock.advance(100);
    await restartOf(c);
    assert.equal(c.peers[0].restarts, 1);
  });

  test('credentials that are not in use are renewed without a restart', async () => {
    const c = await client();

    await accepted(c);
    await up(c, 20_000);
    await c.clock.advance(15_000);
    await credentials(c, 20_000);
    await c.clock.advance(1_000);
    assert.equal(c.peers[0].restarts, 0);
  });
});

describe('after a resume', () => {
  test('a call that the server does not list ends with the true reason', async () => {
    const c = await client();
    const call = await accepted(c);

    c.socket.end(1006);
    await c.clock.advance(0);
    await c.hello();
    await c.welcome({ resumed: false, sessionId: 's2' });
    await c.reply(c.socket.read('call.sync'), { callId: call.id, state: 'ended', reason: 'connection_lost' });
    assert.equal(call.end.reason, 'connection_lost');
  });

  test('a call of which nobody can tell now is asked for again, and not over', async () => {
    const c = await client();
    const call = await accepted(c);
    const unknown = async () => {
      for (let tries = 0; tries < 3; tries++) {
        await c.refuse(c.socket.read('call.sync'), 'store.unavailable', { retryable: true, retryAfterMs: 1_000 });
        await c.clock.advance(1_000);
      }
    };

    c.socket.end(1006);
    await c.clock.advance(0);
    await c.hello();
    await c.welcome({ resumed: false, sessionId: 's2' });
    await unknown();
    assert.equal(c.socket.sent('call.sync').length, 0);
    assert.notEqual(call.state, 'ended');
    await c.clock.advance(4_000);
    await c.reply(c.socket.read('call.sync'), { callId: call.id, state: 'active', role: 'caller', selected: true });
    assert.notEqual(call.state, 'ended');
    await c.clock.advance(20_000);
    assert.equal(c.socket.sent('call.sync').length, 0);
  });

  test('the answer is taken from the view when the event was lost', async () => {
    const c = await client();
    const call = await c.sori.call('bob');

    await c.settle();
    await c.reply(c.socket.read('call.invite'), { state: 'inviting', iceServers: SERVERS });
    c.socket.end(1006);
    await c.clock.advance(0);
    await c.hello();
    await c.welcome({ resumed: false, activeCalls: [{ callId: call.id, state: 'connecting', role: 'caller', peer: 'bob', selected: true, answer: ANSWER }] });
    assert.equal(call.state, 'connecting');
    assert.deepEqual(c.peers[0].remoteDescription, ANSWER);
  });

  test('an unanswered invite is repeated, not taken for over', async () => {
    const c = await client();
    const call = await c.sori.call('bob');

    await c.settle();
    c.socket.end(1006);
    await c.clock.advance(0);
    await c.hello();
    await c.welcome({ resumed: true, lastSeq: 0 });
    assert.equal(c.socket.sent('call.invite').length, 1);
    assert.equal(c.socket.sent('call.sync').length, 0);
    assert.equal(call.state, 'dialing');
  });
});

describe('after a reload', () => {
  const view = { callId: ID, role: 'callee', peer: 'bob', isVideo: false, selected: true, callWaiting: false };

  /** A page that is loaded again while the server has these calls. */
  async function reloaded(activeCalls) {
    const before = await client();
    const c = new WebClient({ storage: before.storage, clock: before.clock });

    c.incoming = record(c.sori, 'incoming');
    c.picked = record(c.sori, 'call');
    await c.online({ resumed: true, lastSeq: 3, activeCalls });
    return c;
  }

  test('a running call is picked up with a fresh offer', async () => {
    const c = await reloaded([{ ...view, state: 'active' }]);
    const { call } = c.picked[0];

    assert.equal(call.restored, true);
    await credentials(c);
    const offer = c.socket.read('call.negotiate');
    assert.equal(offer.data.fresh, true);
    assert.equal(offer.data.description.type, 'offer');
    await c.say({ type: 'call.negotiate', callId: ID, data: { description: ANSWER, negotiationId: offer.data.negotiationId } });
    c.peers[0].become('connected');
    assert.equal(call.state, 'active');
  });

  test('a call that rings goes on ringing', async () => {
    const c = await reloaded([{ ...view, state: 'ringing', selected: false, offer: OFFER, expiresInMs: 9000 }]);

    assert.equal(c.incoming.length, 1);
    c.incoming[0].call.accept();
    await c.settle();
    await credentials(c);
    assert.equal(c.socket.sent('call.answer').length, 1);
    assert.deepEqual(c.peers[0].configuration.iceServers, SERVERS);
  });

  test('a call that another device answered is not ours', async () => {
    const c = await reloaded([{ ...view, state: 'active', selected: false }]);

    assert.deepEqual(c.sori.calls, []);
  });

  test('a caller who reloads while it rings goes on with a fresh offer once it is accepted', async () => {
    const c = await reloaded([{ ...view, role: 'caller', state: 'ringing' }]);

    assert.equal(c.picked[0].call.state, 'ringing');
    await c.say({ type: 'call.accepted', callId: ID, data: { answer: ANSWER } });
    await credentials(c);
    assert.equal(c.socket.read('call.negotiate').data.fresh, true);
  });

  test('the other side makes a new connection for a fresh offer, even across its own offer', async () => {
    const c = await client();
    const call = await accepted(c);

    await up(c);
    call.setHold(true);
    call.setHold(false);
    await c.settle();
    await c.say({ type: 'call.candidates', callId: call.id, data: { candidates: [{ candidate: 'old' }] } });
    await c.say({ type: 'call.negotiate', callId: call.id, data: { description: OFFER, negotiationId: 'n1', fresh: true } });
    await credentials(c);
    assert.equal(c.peers.length, 2);
    assert.ok(c.peers[0].closed);
    assert.equal(call.state, 'reconnecting');
    const answer = c.socket.sent('call.negotiate').at(-1);
    assert.deepEqual([answer.data.description.type, answer.data.negotiationId], ['answer', 'n1']);
    await c.say({ type: 'call.candidates', callId: call.id, data: { candidates: [{ candidate: 'new' }] } });
    assert.deepEqual(c.peers[1].candidates, [{ candidate: 'new' }]);
  });

  test('an offer for the lost connection is ignored until the fresh one is answered', async () => {
    const c = await reloaded([{ ...view, state: 'active' }]);

    await credentials(c);
    const ours = c.socket.read('call.negotiate');
    await c.say({ type: 'call.negotiate', callId: ID, data: { description: OFFER, negotiationId: 'n1' } });
    assert.equal(c.socket.sent('call.negotiate').length, 0);
    await c.say({ type: 'call.negotiate', callId: ID, data: { description: ANSWER, negotiationId: ours.data.negotiationId } });
    assert.equal(c.peers[0].signalingState, 'stable');
  });

  test('both reload: the callee takes the caller’s offer', async () => {
    const c = await reloaded([{ ...view, state: 'active' }]);

    await credentials(c);
    c.socket.read('call.negotiate');
    await c.say({ type: 'call.negotiate', callId: ID, data: { description: OFFER, negotiationId: 'n1', fresh: true } });
    await credentials(c);
    assert.equal(c.socket.read('call.negotiate').data.negotiationId, 'n1');
  });

  test('mute and camera are as they were', async () => {
    const before = await client();
    const call = await answered(before, { video: true });
    call.setMuted(true);
    const c = new WebClient({ storage: before.storage, clock: before.clock });
    c.picked = record(c.sori, 'call');
    await c.online({ resumed: true, lastSeq: 9, activeCalls: [{ ...view, state: 'active' }] });
    assert.equal(c.picked[0].call.muted, true);
    assert.equal(c.picked[0].call.cameraOn, true);
    assert.equal(c.media.opened.find((t) => t.kind === 'audio').enabled, false);
  });
});

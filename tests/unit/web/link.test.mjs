/**
 * The connection of server/web/sori.js: hello, seq and ack, resume and repeat, the reconnect
 * algorithm and the close codes of docs/SIGNALING.md §2, §3, §6 and §7.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { Sori, SoriError } from '../../../server/web/sori.js';
import { WebClient } from '../../lib/web_client.mjs';

const refusal = (code) => (error) => error instanceof SoriError && error.code === code;

describe('hello', () => {
  test('carries token, device and capabilities, and no seq', async () => {
    const c = new WebClient();
    const hello = await c.online();

    assert.equal(c.socket.url, 'wss://sori.example/ws');
    assert.deepEqual(c.socket.protocols, ['sori.v1']);
    assert.equal(hello.seq, undefined);
    assert.match(hello.id, /^[A-Za-z0-9._-]{1,64}$/);
    assert.deepEqual(hello.data, {
      token: 'token-1', deviceId: 'laptop', platform: 'web', capabilities: ['video', 'rooms'], appState: 'foreground',
    });
    assert.equal(c.sori.userId, 'alice');
    assert.equal(c.sori.state, 'online');
  });

  test('nothing else is sent before welcome', async () => {
    const c = new WebClient();

    c.sori.connect();
    await c.hello();
    c.sori.setPresence('away');
    assert.deepEqual(c.socket.got, []);
    await c.welcome();
    assert.equal(c.socket.read('presence.set').data.state, 'away');
  });

  test('no welcome within 10 s: another socket', async () => {
    const c = new WebClient();

    c.sori.connect();
    await c.hello();
    await c.clock.advance(9_999);
    assert.equal(c.sockets.length, 1);
    await c.clock.advance(2);
    assert.equal(c.sockets.length, 2);
    assert.notEqual(c.sockets[0].closed, null);
  });

  test('what is no WebSocket address is told, not tried for ever', async () => {
    const env = { WebSocket: class { constructor() { throw new SyntaxError('bad URL'); } } };
    const sori = new Sori({ url: 'ftp://x', token: () => 't', deviceId: 'd', storage: null, env });
    await assert.rejects(sori.connect(), refusal('closed'));
    assert.equal(sori.state, 'stopped');
  });

  test('a token that can not be had is a failed attempt, not the end', async () => {
    let up = false;
    const c = new WebClient({ token: () => (up ? 'good' : Promise.reject(new Error('down'))) });

    c.sori.connect();
    await c.settle();
    assert.equal(c.events.at(-1).error.message, 'down');
    up = true;
    await c.clock.advance(1_000);
    assert.equal((await c.hello()).data.token, 'good');
  });
});

describe('seq and ack', () => {
  test('requests are numbered from 1 without gaps, presence and ping are not', async () => {
    const c = new WebClient();

    await c.online();
    await c.sori.call('bob');
    c.sori.setPresence('away');
    await c.sori.call('carol');
    await c.settle();
    const invites = c.socket.sent('call.invite');
    assert.deepEqual(invites.map((m) => m.seq), [1, 2]);
    assert.notEqual(invites[0].id, invites[1].id);
    assert.equal(c.socket.sent('presence.set')[0].seq, undefined);
  });

  test('an ack goes by itself after 1 s', async () => {
    const c = new WebClient();

    await c.online();
    await c.say({ type: 'call.ended', callId: 'x', data: {} });
    await c.clock.advance(999);
    assert.equal(c.socket.sent('ack').length, 0);
    await c.clock.advance(1);
    assert.deepEqual(c.socket.read('ack'), { type: 'ack', ack: 1 });
    await c.clock.advance(5_000);
    assert.equal(c.socket.sent('ack').length, 0);
  });

  test('an ack goes by itself after 16 messages', async () => {
    const c = new WebClient();

    await c.online();
    for (let i = 0; i < 16; i++) await c.say({ type: 'call.info', callId: 'x', data: {} });
    assert.deepEqual(c.socket.sent('ack').map((m) => m.ack), [16]);
  });

  test('an ack rides on the next message', async () => {
    const c = new WebClient();

    await c.online();
    await c.say({ type: 'call.info', callId: 'x', data: {} });
    c.sori.setPresence('busy');
    assert.equal(c.socket.read('presence.set').ack, 1);
    await c.clock.advance(2_000);
    assert.equal(c.socket.sent('ack').length, 0);
  });

  test('a seq that was had is dropped', async () => {
    const c = new WebClient();
    let rang = 0;

    c.sori.addEventListener('incoming', () => { rang++; });
    await c.online();
    const incoming = {
      type: 'call.incoming', seq: 1, callId: 'c1', from: 'bob', data: { offer: {}, expiresInMs: 30000 },
    };
    c.socket.say(incoming);
    c.socket.say(incoming);
    c.socket.say({ ...incoming, callId: 'c2' });
    assert.equal(rang, 1);
  });

  test('a gap ends the socket with 4400 and the session with it', async () => {
    const c = new WebClient();

    await c.online();
    c.socket.say({ type: 'call.info', seq: 2, callId: 'x', data: {} });
    assert.equal(c.sockets[0].closed, 4400);
    await c.clock.advance(300);
    assert.equal((await c.hello()).data.resume, undefined);
  });

  test('what is not JSON ends the socket, and the session goes on', async () => {
    const c = new WebClient();

    await c.online();
    c.socket.say('{');
    await c.clock.advance(300);
    assert.equal((await c.hello()).data.resume.sessionId, 's1');
  });

  test('more than 256 unacknowledged messages are refused, not kept', async () => {
    const c = new WebClient();

    await c.online();
    c.socket.end(1006);
    const all = Array.from({ length: 257 }, () => c.sori.setPresence('away'));
    all.slice(0, 256).forEach((p) => p.catch(() => {}));
    await assert.rejects(all[256], refusal('busy_link'));
  });
});

describe('resume', () => {
  test('carries the newest token and the last seq that was received', async () => {
    const c = new WebClient();

    await c.online();
    await c.say({ type: 'call.info', callId: 'x', data: {} });
    c.socket.end(1006);
    await c.clock.advance(0);
    assert.deepEqual((await c.hello()).data.resume, { sessionId: 's1', resumeToken: 'r1', lastSeq: 1, nextSeq: 1 });
    await c.welcome({ resumed: true });
    c.socket.end(1006);
    await c.clock.advance(300);
    assert.equal((await c.hello()).data.resume.resumeToken, 'r2');
  });

  test('repeats what the server does not have, same id and seq, and only that', async () => {
    const c = new WebClient();

    await c.online();
    for (const user of ['bob', 'carol', 'dave']) await c.sori.call(user);
    await c.settle();
    const before = c.socket.sent('call.invite');
    c.socket.end(1006);
    await c.clock.advance(0);
    await c.hello();
    await c.welcome({ resumed: true, lastSeq: 2 });
    const again = c.socket.sent('call.invite');
    assert.deepEqual(again.map((m) => [m.seq, m.id, m.to]), [[3, before[2].id, 'dave']]);
  });

  test('an acknowledged request that is not answered waits for the replay', async () => {
    const c = new WebClient();

    await c.online();
    const call = await c.sori.call('bob');
    await c.settle();
    const invite = c.socket.read('call.invite');
    c.socket.say({ type: 'ack', ack: 1 });
    c.socket.end(1006);
    await c.clock.advance(0);
    await c.hello();
    await c.welcome({ resumed: true, lastSeq: 1 });
    assert.equal(c.socket.sent('call.invite').length, 0);
    await c.reply(invite, { state: 'inviting', iceServers: [] });
    assert.equal(call.state, 'inviting');
  });

  test('after resumed:false all that is unanswered is numbered anew, same id', async () => {
    const c = new WebClient();

    await c.online();
    for (const user of ['bob', 'carol', 'dave']) await c.sori.call(user);
    await c.settle();
    const before = c.socket.sent('call.invite');
    await c.refuse(before[0], 'call.busy');
    c.socket.end(1006);
    await c.clock.advance(0);
    await c.hello();
    await c.welcome({ resumed: false, sessionId: 's2' });
    assert.deepEqual(c.socket.sent('call.invite').map((m) => [m.seq, m.id]),
      [[1, before[1].id], [2, before[2].id]]);
  });

  test('survives a reload, and goes on with the numbers that the server has', async () => {
    const first = new WebClient();

    await first.online();
    await first.sori.call('bob');
    await first.settle();
    await first.say({ type: 'call.info', callId: 'x', data: {} });
    const used = first.socket.read('call.invite').id;
    const second = new WebClient({ storage: first.storage, clock: first.clock });
    const connected = second.sori.connect();
    const hello = await second.hello();
    assert.deepEqual(hello.data.resume, { sessionId: 's1', resumeToken: 'r1', lastSeq: 1 });
    await second.welcome({ resumed: true, lastSeq: 1 });
    await connected;
    await second.sori.call('carol');
    await second.settle();
    const invite = second.socket.read('call.invite');
    assert.equal(invite.seq, 2);
    assert.notEqual(invite.id, used);
  });

  test('close() ends the session on the server and forgets it', async () => {
    const c = new WebClient();

    await c.online();
    c.sori.close();
    assert.equal(c.socket.read('session.close').seq, 1);
    assert.equal(c.socket.closed, 1000);
    assert.equal(c.sori.state, 'stopped');
    assert.equal(c.storage.getItem('sori.session.laptop'), null);
    await c.clock.advance(60_000);
    assert.equal(c.sockets.length, 1);
  });
});

describe('reconnecting', () => {
  test('first at once, then 0.25 s doubling to 15 s', async () => {
    const c = new WebClient({ random: 1 });

    c.sori.connect();
    await c.settle();
    const waits = [];
    for (let i = 0; i < 9; i++) {
      c.socket.end(1006);
      waits.push(c.events.at(-1).retryInMs);
      await c.clock.advance(waits.at(-1));
    }
    assert.deepEqual(waits, [0, 250, 500, 1000, 2000, 4000, 8000, 15000, 15000]);
  });

  test('the jitter is full: with the smallest draw there is no wait', async () => {
    const c = new WebClient({ random: 0 });

    c.sori.connect();
    for (let i = 0; i < 5; i++) {
      await c.clock.advance(0);
      c.socket.end(1006);
      assert.equal(c.events.at(-1).retryInMs, 0);
    }
  });

  test('starts over after 30 s of peace, not after a welcome', async () => {
    const c = new WebClient();
    const drop = async () => {
      c.socket.end(1006);
      const wait = c.events.at(-1).retryInMs;
      await c.clock.advance(wait);
      await c.hello();
      await c.welcome({ resumed: true });
      return wait;
    };

    await c.online();
    assert.equal(await drop(), 0);
    assert.equal(await drop(), 250);
    await c.clock.advance(29_000);
    assert.equal(await drop(), 500);
    c.socket.say({ type: 'pong' });
    await c.clock.advance(20_000);
    c.socket.say({ type: 'pong' });
    await c.clock.advance(10_000);
    assert.equal(await drop(), 0);
  });

  test('silence: a ping after the interval, a new socket after the timeout', async () => {
    const c = new WebClient();

    await c.online();
    await c.clock.advance(25_000);
    assert.equal(typeof c.socket.read('ping').data.t, 'number');
    c.socket.say({ type: 'pong', data: {} });
    await c.clock.advance(25_000);
    c.socket.read('ping');
    await c.clock.advance(9_999);
    assert.equal(c.sockets.length, 1);
    await c.clock.advance(1);
    assert.equal(c.sockets.length, 2);
    assert.notEqual(c.sockets[0].closed, null);
  });

  test('the network is back: now, without waiting for the back-off or the old socket', async () => {
    const c = new WebClient();

    c.sori.connect();
    await c.settle();
    for (let i = 0; i < 7; i++) {
      c.socket.end(1006);
      if (i < 6) await c.clock.advance(c.events.at(-1).retryInMs);
    }
    const n = c.sockets.length;
    c.window.fire('online');
    await c.settle();
    assert.equal(c.sockets.length, n + 1);
    await c.hello();
    await c.welcome();
    c.window.fire('online');
    await c.settle();
    assert.equal(c.sockets.length, n + 2);
    assert.notEqual(c.sockets[n].closed, null);
  });

  test('another kind of network is a move, another estimate of its speed is not', async () => {
    const c = new WebClient();

    await c.online();
    c.connection.fire('change');
    await c.settle();
    assert.equal(c.sockets.length, 1);
    c.connection.type = 'cellular';
    c.connection.fire('change');
    await c.settle();
    assert.equal(c.sockets.length, 2);
  });

  test('back in front: asked for a sign of life within 3 s', async () => {
    const c = new WebClient();

    await c.online();
    c.document.fire('visibilitychange');
    c.socket.read('ping');
    await c.clock.advance(3_000);
    assert.equal(c.sockets.length, 2);
  });

  test('goaway: reconnects after the delay that the server gave', async () => {
    const c = new WebClient();

    await c.online();
    c.socket.say({ type: 'server.goaway', data: { reconnectDelayMs: 1234, resumable: true, deadlineMs: 9000 } });
    await c.clock.advance(1_233);
    assert.equal(c.sockets.length, 1);
    await c.clock.advance(1);
    assert.equal((await c.hello()).data.resume.sessionId, 's1');
  });

  test('goaway and an early close: still the delay', async () => {
    const c = new WebClient();

    await c.online();
    c.socket.say({ type: 'server.goaway', data: { reconnectDelayMs: 5000, resumable: true } });
    c.socket.end(1012);
    assert.equal(c.events.at(-1).retryInMs, 5000);
  });

  test('retryAfterMs of a refused hello overrides the back-off', async () => {
    const c = new WebClient();

    c.sori.connect();
    await c.hello();
    c.socket.say({ type: 'error', data: { code: 'overloaded', status: 503, retryable: true, retryAfterMs: 7000 } });
    c.socket.end(1013);
    assert.equal(c.events.at(-1).retryInMs, 7000);
    assert.equal(c.events.at(-1).error.code, 'overloaded');
  });
});

describe('close codes', () => {
  for (const code of [1000, 1002, 1003, 1007, 1009, 4403, 4409, 4423])
    test(`${code}: stop, and requests are told`, async () => {
      const c = new WebClient();

      await c.online();
      const waiting = assert.rejects(c.sori.setPresence('away'), refusal('closed'));
      c.socket.end(code);
      await waiting;
      await c.clock.advance(60_000);
      assert.equal(c.sockets.length, 1);
      assert.equal(c.events.at(-1).state, 'stopped');
      assert.equal(c.events.at(-1).code, code);
    });

  for (const code of [1001, 1006, 1011, 1012, 4408, 4999])
    test(`${code}: resume at once`, async () => {
      const c = new WebClient();

      await c.online();
      c.socket.end(code);
      await c.clock.advance(0);
      const hello = await c.hello();
      assert.equal(hello.data.resume.sessionId, 's1');
      assert.equal(hello.data.token, 'token-1');
    });

  for (const code of [1013, 4429])
    test(`${code}: resume, but after a back-off of up to 1 s`, async () => {
      const c = new WebClient();

      await c.online();
      c.socket.end(code);
      assert.equal(c.events.at(-1).retryInMs, 1000);
      await c.clock.advance(1000);
      assert.equal((await c.hello()).data.resume.sessionId, 's1');
    });

  test('4400: a new session', async () => {
    const c = new WebClient();

    await c.online();
    c.socket.end(4400);
    await c.clock.advance(0);
    assert.equal((await c.hello()).data.resume, undefined);
  });

  test('4401: a new token, then resume', async () => {
    const c = new WebClient();

    await c.online();
    c.socket.end(4401);
    await c.clock.advance(0);
    const hello = await c.hello();
    assert.equal(hello.data.token, 'token-2');
    assert.equal(hello.data.resume.sessionId, 's1');
  });

  test('after stop, connect() starts again', async () => {
    const c = new WebClient();

    await c.online();
    c.socket.end(4409);
    const connected = c.sori.connect();
    await c.hello();
    await c.welcome();
    await connected;
    assert.equal(c.sori.state, 'online');
  });
});

describe('requests', () => {
  test('auth.expiring: a new token on the open socket', async () => {
    const c = new WebClient();

    await c.online();
    c.socket.say({ type: 'auth.expiring', data: { expiresInMs: 60000 } });
    await c.settle();
    assert.equal(c.socket.read('auth.refresh').data.token, 'token-2');
    c.socket.end(1006);
    await c.clock.advance(0);
    assert.equal((await c.hello()).data.token, 'token-2');
  });

  test('rate_limited is asked again after retryAfterMs, three times at most', async () => {
    const c = new WebClient();

    await c.online();
    const done = assert.rejects(c.sori.setPresence('away'), refusal('rate_limited'));
    for (let i = 0; i < 3; i++) {
      await c.refuse(c.socket.read('presence.set'), 'rate_limited', { status: 429, retryable: true, retryAfterMs: 700 });
      await c.clock.advance(700);
    }
    await done;
    assert.equal(c.socket.sent('presence.set').length, 0);
  });

  test('an error that answers nothing becomes an event', async () => {
    const c = new WebClient();
    const got = [];

    c.sori.addEventListener('error', (e) => got.push(e.error.code));
    await c.online();
    c.socket.say({ type: 'error', data: { code: 'bad_json', status: 400 } });
    assert.deepEqual(got, ['bad_json']);
  });
});

describe('presence', () => {
  test('subscriptions are gathered into one request and told', async () => {
    const c = new WebClient();

    await c.online();
    const done = Promise.all([c.sori.subscribe(['bob']), c.sori.subscribe(['carol', 'bob'])]);
    await c.clock.advance(30);
    const request = c.socket.read('presence.subscribe');
    assert.deepEqual(request.data.users, ['bob', 'carol']);
    await c.reply(request, { users: [{ user: 'bob', state: 'online' }, { user: 'carol', state: 'offline' }] });
    await done;
    c.socket.say({ type: 'presence', data: { users: [{ user: 'carol', state: 'away' }, { user: 'eve', state: 'online' }] } });
    assert.deepEqual([...c.sori.presence], [['bob', 'online'], ['carol', 'away']]);
  });

  test('subscribed again after resumed:false, not after resumed:true', async () => {
    const c = new WebClient();

    await c.online();
    c.sori.subscribe(['bob']);
    await c.clock.advance(30);
    await c.reply(c.socket.read('presence.subscribe'), { users: [] });
    for (const resumed of [true, false]) {
      c.socket.end(1006);
      await c.clock.advance(300);
      await c.hello();
      await c.welcome({ resumed });
      assert.equal(c.socket.sent('presence.subscribe').length, resumed ? 0 : 1);
    }
  });

  test('subscribe() before connect() goes out once, after the welcome', async () => {
    const c = new WebClient();

    c.sori.subscribe(['bob']);
    await c.clock.advance(30);
    await c.online();
    await c.clock.advance(100);
    assert.equal(c.socket.sent('presence.subscribe').length, 1);
  });
});

describe('several urls', () => {
  const urls = ['wss://a.example/ws', 'wss://b.example/ws'];

  test('the first is taken, and kept while it can be reached', async () => {
    const c = new WebClient({ url: urls });

    await c.online();
    assert.equal(c.socket.url, urls[0]);
    c.socket.end(1006);
    await c.clock.advance(0);
    assert.equal(c.socket.url, urls[0]); // the network may have moved, the node is there
  });

  test('what cannot be reached is followed by the next, and the session goes on there', async () => {
    const c = new WebClient({ url: urls });

    await c.online();
    c.socket.end(1006);
    await c.clock.advance(0);
    c.socket.end(1006); // refused
    await c.clock.advance(250);
    assert.equal(c.socket.url, urls[1]);
    assert.equal((await c.hello()).data.resume.sessionId, 's1');
    c.socket.end(1006);
    await c.clock.advance(500);
    assert.equal(c.socket.url, urls[0]); // and round again
  });

  for (const code of [1001, 1012, 1013])
    test(`${code}: the next one at once`, async () => {
      const c = new WebClient({ url: urls });

      await c.online();
      c.socket.end(code);
      await c.clock.advance(1000);
      assert.equal(c.socket.url, urls[1]);
    });

  test('goaway sends to the next one', async () => {
    const c = new WebClient({ url: urls });

    await c.online();
    c.socket.say({ type: 'server.goaway', data: { reconnectDelayMs: 100, resumable: true } });
    await c.clock.advance(100);
    assert.equal(c.socket.url, urls[1]);
  });
});

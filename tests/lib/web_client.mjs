/**
 * A Sori client in virtual time before a scripted server: what the unit tests of sori.js begin with.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import './node18.mjs'; // first
import { Sori } from '../../server/web/sori.js';
import { FakeStorage, fakeWebSocket } from './fake_signal.mjs';
import { FakeStream, fakeMediaDevices, fakePeers } from './fake_peer.mjs';
import { VirtualClock } from './virtual_clock.mjs';

/** An event source that can stand for window, document or navigator.connection. */
class Source extends EventTarget {
  fire(type) {
    this.dispatchEvent(new Event(type));
  }
}

export class WebClient {
  /** random: what Math.random() gives (1 = the longest back-off); storage: survives a reload. */
  constructor({ random = 1, storage = new FakeStorage(), clock = new VirtualClock(), token, ...options } = {}) {
    const { FakeWebSocket, sockets } = fakeWebSocket();
    const { FakePeer, peers } = fakePeers();

    this.clock = clock;
    this.sockets = sockets;
    this.peers = peers;
    this.storage = storage;
    this.window = new Source();
    this.document = Object.assign(new Source(), { visibilityState: 'visible' });
    this.connection = Object.assign(new Source(), { type: 'wifi' });
    this.media = fakeMediaDevices();
    this.tokens = 0;
    this.events = [];
    this.serverSeq = 0;
    this.sori = new Sori({
      url: 'wss://sori.example/ws',
      token: token ?? (() => `token-${++this.tokens}`),
      deviceId: 'laptop',
      storage,
      ...options,
      env: {
        WebSocket: FakeWebSocket,
        RTCPeerConnection: FakePeer,
        MediaStream: FakeStream,
        RTCRtpReceiver: undefined,
        mediaDevices: this.media,
        connection: this.connection,
        window: this.window,
        document: this.document,
        setTimeout: (fn, ms) => clock.setTimeout(fn, ms),
        clearTimeout: (id) => clock.clearTimeout(id),
        now: () => clock.now(),
        random: () => random,
      },
    });
    this.sori.addEventListener('state', (e) => this.events.push(e));
  }

  get socket() {
    return this.sockets.at(-1);
  }

  get settle() {
    return () => this.clock.settle();
  }

  /** Opens the newest socket; gives the hello. */
  async hello() {
    await this.clock.settle();
    this.socket.open();
    return this.socket.read('hello');
  }

  /** Answers hello. */
  async welcome(data = {}) {
    if (!data.resumed) this.serverSeq = 0;
    this.socket.say({
      type: 'welcome',
      data: {
        sessionId: 's1', resumeToken: `r${this.sockets.length}`, resumeTtlMs: 120000, resumed: false,
        lastSeq: 0, userId: 'alice', name: 'Alice', deviceId: 'laptop', nodeId: 'n1', serverTime: 0,
        pingIntervalMs: 25000, pingTimeoutMs: 10000, limits: {}, activeCalls: [], ...data,
      },
    });
    await this.clock.settle();
  }

  /** From nothing to online. */
  async online(data) {
    const connected = this.sori.connect();
    const hello = await this.hello();
    await this.welcome(data);
    await connected;
    return hello;
  }

  /** A reliable message of the server. */
  async say(msg) {
    this.socket.say({ seq: ++this.serverSeq, ...msg });
    await this.clock.settle();
  }

  /** Answers a request with the same type. */
  reply(request, data = {}) {
    return this.say({ type: request.type, re: request.id, callId: request.callId, data });
  }

  /** Answers a request with an error. */
  refuse(request, code, data = {}) {
    return this.say({ type: 'error', re: request.id, callId: request.callId, data: { code, status: 400, ...data } });
  }
}

/** Everything an EventTarget says, by type. */
export function record(target, ...types) {
  const got = [];

  for (const type of types) target.addEventListener(type, (event) => got.push(event));
  return got;
}

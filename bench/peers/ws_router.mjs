// The peer of `make bench-signal`: the same router as sori-server's hot path, on npm `ws` and
// node:https, written the way one would in Node. Subprotocol sori.v1 (docs/SIGNALING.md): hello
// with an HS256 token, calls between two devices, reliable numbers and acknowledgements both ways,
// stored messages and replies, a token bucket a session, server pings. It leaves out what
// sori-server also does (resume, presence, several devices, glare, timers of calls): that only
// favours the peer.
//
//     node ws_router.mjs HOST PORT CERT KEY SECRET_FILE
//
// GET /readyz answers 200; it ends on SIGTERM. SPDX-License-Identifier: BSD-3-Clause
import { createHmac, randomUUID, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { WebSocketServer } from 'ws';

const [host, port, certFile, keyFile, secretFile] = process.argv.slice(2);
const secret = readFileSync(secretFile, 'utf8').trimEnd();

const MESSAGE_BYTES = 65536;
const UNACKED_MAX = 256;
const UNACKED_BYTES_MAX = 262144;
const REPLIES_MAX = 256;
const ACK_EVERY = 16;
const ACK_DELAY_MS = 1000;
const RATE = { perS: 100000, burst: 100000 }; // as the bench configures sori-server
const PING_MS = 25000;
const HELLO_MS = 5000;
const ID = /^[A-Za-z0-9._-]{1,64}$/;
const USER = /^[A-Za-z0-9._@+-]{1,128}$/;
const CALL_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

const users = new Map(); // user -> its session
const calls = new Map(); // call id -> call

class RequestError extends Error {
  constructor(code, status) {
    super(code);
    this.code = code;
    this.status = status;
  }
}

function verifyToken(token) {
  const [header, payload, signature, rest] = token.split('.');
  if (!signature || rest !== undefined) throw new RequestError('unauthorized', 401);
  const { alg } = JSON.parse(Buffer.from(header, 'base64url').toString());
  const mac = createHmac('sha256', secret).update(`${header}.${payload}`).digest();
  const given = Buffer.from(signature, 'base64url');
  if (alg !== 'HS256' || given.length !== mac.length || !timingSafeEqual(given, mac))
    throw new RequestError('unauthorized', 401);
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString());
  if (typeof claims.sub !== 'string' || !USER.test(claims.sub))
    throw new RequestError('unauthorized', 401);
  if (!(claims.exp > Date.now() / 1000)) throw new RequestError('token_expired', 401);
  return claims;
}

class Session {
  constructor(ws, user, device) {
    this.ws = ws;
    this.user = user;
    this.device = device;
    this.inSeq = 0;
    this.told = 0;
    this.outSeq = 0;
    this.unacked = []; // {seq, text}
    this.unackedBytes = 0;
    this.replies = new Map(); // request id -> text
    this.ackTimer = null;
    this.tokens = RATE.burst;
    this.refilled = performance.now();
  }

  send(message) {
    message.seq = ++this.outSeq;
    if (this.inSeq > this.told) {
      message.ack = this.inSeq;
      this.told = this.inSeq;
    }
    const text = JSON.stringify(message);
    if (this.unacked.length >= UNACKED_MAX || this.unackedBytes + text.length > UNACKED_BYTES_MAX) {
      this.ws.close(1013);
      return;
    }
    this.unacked.push({ seq: message.seq, text });
    this.unackedBytes += text.length;
    if (message.re !== undefined) this.keepReply(message.re, text);
    this.ws.send(text);
  }

  keepReply(id, text) {
    if (this.replies.size >= REPLIES_MAX) this.replies.delete(this.replies.keys().next().value);
    this.replies.set(id, text);
  }

  acknowledged(ack) {
    while (this.unacked.length > 0 && this.unacked[0].seq <= ack)
      this.unackedBytes -= this.unacked.shift().text.length;
  }

  // True when the message is new.
  received(seq) {
    if (seq <= this.inSeq) return false;
    if (seq !== this.inSeq + 1) {
      this.ws.close(4400);
      return false;
    }
    this.inSeq = seq;
    if (this.inSeq - this.told >= ACK_EVERY) this.sendAck();
    else this.ackTimer ??= setTimeout(() => this.ackDue(), ACK_DELAY_MS);
    return true;
  }

  ackDue() {
    this.ackTimer = null;
    if (this.inSeq > this.told) this.sendAck();
  }

  sendAck() {
    this.told = this.inSeq;
    this.ws.send(JSON.stringify({ type: 'ack', ack: this.told }));
  }

  withinRate() {
    const now = performance.now();
    this.tokens = Math.min(RATE.burst, this.tokens + ((now - this.refilled) * RATE.perS) / 1000);
    this.refilled = now;
    if (this.tokens < 1) return false;
    this.tokens -= 1;
    return true;
  }

  reply(m, data) {
    this.send({ type: m.type, re: m.id, callId: m.callId, data });
  }
}

function partyOf(m, session) {
  const call = calls.get(m.callId);
  if (!call || (call.caller !== session && call.callee !== session))
    throw new RequestError('call.not_found', 404);
  return call;
}

const other = (call, session) => (call.caller === session ? call.callee : call.caller);

function relay(m, session) {
  const call = partyOf(m, session);
  other(call, session).send({
    type: m.type,
    callId: m.callId,
    from: session.user,
    fromDevice: session.device,
    ts: Date.now(),
    data: m.data,
  });
}

function requireState(call, ...states) {
  if (!states.includes(call.state)) throw new RequestError('call.invalid_state', 409);
}

const handlers = {
  'call.invite'(m, session) {
    const callee = typeof m.to === 'string' && USER.test(m.to) ? users.get(m.to) : undefined;
    if (typeof m.data?.offer?.sdp !== 'string' || typeof m.data.metadata?.isVideo !== 'boolean')
      throw new RequestError('bad_request', 400);
    if (!callee) throw new RequestError('callee.unreachable', 480);
    if (calls.has(m.callId)) throw new RequestError('call.exists', 409);
    calls.set(m.callId, {
      caller: session,
      callee,
      state: 'inviting',
      media: new Map(),
      held: [],
      since: 0,
    });
    session.reply(m, {
      state: 'inviting',
      expiresInMs: 30000,
      devices: { online: 1, pushed: 0 },
      iceServers: [],
    });
    callee.send({
      type: 'call.incoming',
      callId: m.callId,
      from: session.user,
      fromDevice: session.device,
      ts: Date.now(),
      data: {
        offer: m.data.offer,
        metadata: m.data.metadata,
        expiresInMs: 30000,
        iceServers: [],
        callWaiting: false,
      },
    });
  },

  'call.ringing'(m, session) {
    const call = partyOf(m, session);
    requireState(call, 'inviting', 'ringing');
    session.reply(m, {});
    if (call.state === 'inviting')
      call.caller.send({
        type: 'call.ringing',
        callId: m.callId,
        from: session.user,
        ts: Date.now(),
      });
    call.state = 'ringing';
  },

  'call.answer'(m, session) {
    const call = partyOf(m, session);
    requireState(call, 'inviting', 'ringing');
    if (session !== call.callee || typeof m.data?.answer?.sdp !== 'string')
      throw new RequestError('bad_request', 400);
    call.state = 'connecting';
    session.reply(m, { state: 'connecting', iceServers: [] });
    call.caller.send({
      type: 'call.accepted',
      callId: m.callId,
      from: session.user,
      fromDevice: session.device,
      ts: Date.now(),
      data: { answer: m.data.answer },
    });
    for (const held of call.held) relay(held, session);
    call.held = [];
  },

  // The callee's candidates wait for its answer.
  'call.candidates'(m, session) {
    const call = partyOf(m, session);
    const list = m.data?.candidates;
    if (!Array.isArray(list) || list.length < 1 || list.length > 32)
      throw new RequestError('bad_request', 400);
    if (list.some((c) => typeof c?.candidate !== 'string'))
      throw new RequestError('bad_request', 400);
    if (session === call.callee && (call.state === 'inviting' || call.state === 'ringing'))
      call.held.push(m);
    else relay(m, session);
  },

  'call.info'(m, session) {
    const call = partyOf(m, session);
    requireState(call, 'connecting', 'active');
    relay(m, session);
  },

  'call.state'(m, session) {
    const call = partyOf(m, session);
    requireState(call, 'connecting', 'active');
    call.media.set(session, m.data?.connectionState);
    if (call.state !== 'connecting' || call.media.get(other(call, session)) !== 'connected') return;
    if (m.data.connectionState !== 'connected') return;
    call.state = 'active';
    call.since = Date.now();
    for (const party of [call.caller, call.callee])
      party.send({
        type: 'call.state',
        callId: m.callId,
        ts: Date.now(),
        data: { state: 'active' },
      });
  },

  'call.hangup'(m, session) {
    const call = partyOf(m, session);
    requireState(call, 'connecting', 'active');
    const durationMs = call.since ? Date.now() - call.since : 0;
    calls.delete(m.callId);
    session.reply(m, { durationMs });
    other(call, session).send({
      type: 'call.ended',
      callId: m.callId,
      ts: Date.now(),
      data: {
        reason: 'hangup',
        by: session.user,
        deviceId: session.device,
        sipCode: 200,
        durationMs,
        missed: false,
      },
    });
  },
};

function hello(ws, m) {
  if (m?.type !== 'hello' || !ID.test(m.data?.deviceId)) throw new RequestError('bad_request', 400);
  const claims = verifyToken(m.data.token);
  const session = new Session(ws, claims.sub, m.data.deviceId);
  users.get(session.user)?.ws.close(4409);
  users.set(session.user, session);
  ws.send(
    JSON.stringify({
      type: 'welcome',
      data: {
        sessionId: randomUUID(),
        resumeToken: randomUUID(),
        resumeTtlMs: 120000,
        resumed: false,
        lastSeq: 0,
        userId: session.user,
        deviceId: session.device,
        nodeId: 'ws',
        serverTime: Date.now(),
        pingIntervalMs: PING_MS,
        pingTimeoutMs: PING_MS,
        limits: { messageBytes: 8192, sdpBytes: 65536 },
        activeCalls: [],
      },
    }),
  );
  return session;
}

function sendError(session, m, e) {
  if (!(e instanceof RequestError)) throw e;
  if (m.id === undefined) return;
  session.send({
    type: 'error',
    re: m.id,
    callId: m.callId,
    data: { code: e.code, status: e.status, message: e.code, retryable: false },
  });
}

function handle(session, m) {
  if (m.id !== undefined && (typeof m.id !== 'string' || !ID.test(m.id)))
    throw new RequestError('bad_request', 400);
  if (Number.isSafeInteger(m.ack) && m.ack <= session.outSeq) session.acknowledged(m.ack);
  if (m.type === 'ack') return;
  if (Number.isSafeInteger(m.seq) && !session.received(m.seq)) return;
  try {
    if (!session.withinRate()) throw new RequestError('rate_limited', 429);
    const stored = m.id === undefined ? undefined : session.replies.get(m.id);
    if (stored !== undefined) {
      session.ws.send(stored);
      return;
    }
    const handler = Object.hasOwn(handlers, m.type) ? handlers[m.type] : undefined;
    if (!handler) throw new RequestError('unsupported_type', 400);
    if (typeof m.callId !== 'string' || !CALL_ID.test(m.callId))
      throw new RequestError('bad_request', 400);
    handler(m, session);
  } catch (e) {
    sendError(session, m, e);
  }
}

function onConnection(ws) {
  let session = null;
  const helloTimer = setTimeout(() => ws.close(4408), HELLO_MS);

  ws.alive = true;
  ws.on('pong', () => {
    ws.alive = true;
  });
  ws.on('message', (data, isBinary) => {
    if (isBinary) {
      ws.close(1003);
      return;
    }
    ws.alive = true;
    try {
      const m = JSON.parse(data.toString());
      if (session) {
        handle(session, m);
      } else {
        session = hello(ws, m);
        clearTimeout(helloTimer);
      }
    } catch (e) {
      if (session) ws.send(JSON.stringify({ type: 'error', data: { code: 'bad_json' } }));
      else ws.close(e instanceof RequestError ? 4401 : 4400);
    }
  });
  ws.on('close', () => {
    clearTimeout(helloTimer);
    if (session && users.get(session.user) === session) users.delete(session.user);
  });
  ws.on('error', () => {});
}

const server = createServer(
  { cert: readFileSync(certFile), key: readFileSync(keyFile), minVersion: 'TLSv1.2' },
  (request, response) => response.writeHead(request.url === '/readyz' ? 200 : 404).end(),
);
const wss = new WebSocketServer({
  server,
  path: '/ws',
  maxPayload: MESSAGE_BYTES,
  perMessageDeflate: false,
  handleProtocols: (offered) => (offered.has('sori.v1') ? 'sori.v1' : false),
});
wss.on('connection', onConnection);

const heartbeat = setInterval(() => {
  for (const ws of wss.clients) {
    if (!ws.alive) {
      ws.terminate();
      continue;
    }
    ws.alive = false;
    ws.ping();
  }
}, PING_MS);

process.on('SIGTERM', () => {
  clearInterval(heartbeat);
  for (const ws of wss.clients) ws.terminate();
  server.close(() => process.exit(0));
});
server.listen({ host, port: Number(port), backlog: 4096 });

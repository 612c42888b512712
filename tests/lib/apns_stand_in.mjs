// A stand-in for Apple's push service, as strict as we know how: tests can't reach the real one.
//
//     node tests/lib/apns_stand_in.mjs '{"cert":FILE,"key":FILE,"port":0,…}'
//
// It prints one line, {"port":N,"admin":M}, and serves HTTP/2 over TLS on port and plain HTTP/1 on
// admin:
//
//     POST /set     JSON merged into the settings (see SETTINGS; tokens and keys are merged too)
//     POST /do      {"what":"goaway"|"drop"|"half_close"|"black_hole"|"wake", …}: see DO
//     GET  /verdict what was seen: counts, answers by reason, ids doubled, RSTs and PINGs of clients
//     GET  /last    the last pushes, with headers and payload
//     POST /clear   forgets what was seen
//
// Every rule is a switch. It is held to account by three clients that others wrote
// (tests/e2e/apns_stand_in_test.py): a rule that refuses all of them is wrong.
// SPDX-License-Identifier: BSD-3-Clause
import crypto from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import process from 'node:process';

const { NGHTTP2_REFUSED_STREAM, NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR } = http2.constants;
const TYPES = {
  alert: '', background: '', voip: '.voip', liveactivity: '.push-type.liveactivity',
  location: '.location-query', complication: '.complication', fileprovider: '.pushkit.fileprovider',
  pushtotalk: '.voip-ptt',
};
const ONE_EACH = ['apns-id', 'apns-topic', 'apns-push-type', 'apns-priority', 'apns-expiration',
  'apns-collapse-id', 'authorization'];
const LAST_MAX = 200;

export const SETTINGS = {
  environment: 'production',  // which of Apple's two hosts this is
  topics: ['com.acme.talk'],
  // KID: {team, public (PEM), environment: production|sandbox|both, topics: null | […]}
  keys: {},
  // HEX: {state: active|wrong_env|wrong_topic|unregistered|expired|flooded, since (ms), count}
  tokens: {},
  unknown: 'BadDeviceToken',  // a token that is not in tokens; "active": any is fine
  clock_s: 0,                 // added to the clock
  // rules
  jwt: true,                  // there must be one, signed by a key above
  jwt_age_s: 3600,            // older: ExpiredProviderToken; 0: any age
  jwt_ahead_s: 60,            // iat in the future by more: InvalidProviderToken
  jwt_gap_s: 1200,            // between two different tokens of one key: TooManyProviderTokenUpdates
  wedge: true,                // a connection that saw an expired token refuses all that follows
  bind: true,                 // a connection belongs to the team and key of its first push
  grammar: true,              // of the headers
  duplicates: true,
  suffix: true,               // topic fits the type
  sizes: true,
  shape: true,                // payload is an object with aps; a Live Activity's is complete
  streams: 1000,
  streams_first: 1,           // before the first valid token
  streams_rejected: 1,        // after a rejection, until something is accepted; 0: unchanged
  bad_tokens_max: 0,          // BadDeviceTokens before a connection is closed; 0: never
  window: 65535,              // bytes, of a stream and of the connection
  // faults; counts are requests of one connection
  goaway_every: 0,            // GOAWAY that processes all up to here
  goaway_below: 0,            // how many of the last requests GOAWAY says were not processed
  refuse_every: 0,            // RST_STREAM REFUSED_STREAM, not processed
  reset_every: 0,             // RST_STREAM INTERNAL_ERROR, processed
  drop_every: 0,              // the TCP connection breaks, before it is processed
  drop_after_every: 0,        // the same, after
  flap_every: 0,              // MAX_CONCURRENT_STREAMS goes up and down
  fail: null,                 // {status, reason, count}: answers to the next count requests
  delay_ms: 0,                // before an answer
  spread_ms: 0,               // and up to so much more: answers come out of order
  reply: null,                // {status, body (text)}: this is the answer, to everything
};

const seen = {};
function clear() {
  Object.assign(seen, {
    requests: 0, accepted: 0, answers: {}, ids: new Map(), doubled: 0, sessions: 0, client_rst: {},
    pings: 0, jwts: new Set(), session_errors: 0, client_goaway: 0, unanswered: 0, last: [],
    opened_ms: [],
  });
}

class Refusal extends Error {
  constructor(status, reason, more = {}) {
    super(reason);
    Object.assign(this, { status, reason, more });
  }
}

const refuse = (status, reason, more) => { throw new Refusal(status, reason, more); };
const now_s = (set) => Date.now() / 1000 + set.clock_s;

// ---- provider tokens

const adopted = new Map(); // kid -> {text, at_s, all: Set}
const verified = new Map(); // text -> what read_jwt made of it; a signature costs 0.2 ms

function read_jwt(set, text) {
  const known = verified.get(text);
  if (known && set.keys[known.kid] === known.key) return known;
  const parts = text.split('.');
  let header, claims;
  try {
    header = JSON.parse(Buffer.from(parts[0], 'base64url'));
    claims = JSON.parse(Buffer.from(parts[1], 'base64url'));
  } catch {
    refuse(403, 'InvalidProviderToken');
  }
  const signature = Buffer.from(parts[2] ?? '', 'base64url');
  const key = set.keys[header.kid];
  const fit = parts.length === 3 && header.alg === 'ES256' && /^[A-Z0-9]{10}$/.test(header.kid) &&
    key && key.team === claims.iss && Number.isInteger(claims.iat) && signature.length === 64 &&
    crypto.verify('sha256', Buffer.from(`${parts[0]}.${parts[1]}`),
      { key: key.public, dsaEncoding: 'ieee-p1363' }, signature);
  if (!fit) refuse(403, 'InvalidProviderToken');
  const jwt = { kid: header.kid, iat: claims.iat, key, text };
  verified.set(text, jwt);
  return jwt;
}

function check_age(set, session, jwt) {
  const age = now_s(set) - jwt.iat;
  if (set.jwt_age_s && age > set.jwt_age_s) {
    session.wedged = set.wedge;
    refuse(403, 'ExpiredProviderToken');
  }
  if (age < -set.jwt_ahead_s) refuse(403, 'InvalidProviderToken');
}

function check_pace(set, jwt) {
  const at_s = now_s(set);
  const known = adopted.get(jwt.kid) ?? { text: '', at_s: -Infinity, all: new Set() };
  if (known.all.has(jwt.text)) return;
  if (set.jwt_gap_s && at_s - known.at_s < set.jwt_gap_s)
    refuse(429, 'TooManyProviderTokenUpdates');
  known.all.add(jwt.text);
  adopted.set(jwt.kid, { text: jwt.text, at_s, all: known.all });
}

function check_jwt(set, session, authorization, topic) {
  if (session.wedged) refuse(403, 'ExpiredProviderToken');
  if (!set.jwt) return;
  const [, text] = /^bearer (\S+)$/i.exec(authorization ?? '') ?? refuse(403, 'MissingProviderToken');
  const jwt = read_jwt(set, text);
  seen.jwts.add(text);
  check_age(set, session, jwt);
  const where = jwt.key.environment ?? 'both';
  if (where !== 'both' && where !== set.environment) refuse(403, 'BadEnvironmentKeyInToken');
  if (set.bind && session.team && session.team !== jwt.key.team) refuse(403, 'InvalidProviderToken');
  if (set.bind && session.kid && session.kid !== jwt.kid) refuse(403, 'UnrelatedKeyIdInToken');
  check_pace(set, jwt);
  if (jwt.key.topics && !jwt.key.topics.includes(topic)) refuse(400, 'TopicDisallowed');
  session.team = jwt.key.team;
  session.kid = jwt.kid;
}

// ---- headers and payload

function check_headers(set, h) {
  if (h[':method'] !== 'POST') refuse(405, 'MethodNotAllowed');
  const path = /^\/3\/device\/([^/]*)$/.exec(h[':path']) ?? refuse(404, 'BadPath');
  if (!path[1]) refuse(400, 'MissingDeviceToken');
  if (!set.grammar) return path[1].toLowerCase();
  const id = h['apns-id'];
  if (id !== undefined && !/^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/.test(id))
    refuse(400, 'BadMessageId');
  if (!h['apns-topic']) refuse(400, 'MissingTopic');
  if (!(h['apns-push-type'] in TYPES)) refuse(400, 'InvalidPushType');
  const priority = h['apns-priority'] ?? '10';
  if (!['10', '5', '1'].includes(priority)) refuse(400, 'BadPriority');
  if (h['apns-push-type'] === 'background' && priority !== '5') refuse(400, 'BadPriority');
  if (!/^(0|[1-9][0-9]{0,11})?$/.test(h['apns-expiration'] ?? '')) refuse(400, 'BadExpirationDate');
  if (Buffer.byteLength(h['apns-collapse-id'] ?? '') > 64) refuse(400, 'BadCollapseId');
  if (!/^([0-9a-fA-F]{2}){1,200}$/.test(path[1])) refuse(400, 'BadDeviceToken');
  return path[1].toLowerCase();
}

function check_duplicates(raw) {
  const names = raw.filter((_, i) => i % 2 === 0).map((n) => n.toLowerCase());
  for (const name of ONE_EACH)
    if (names.indexOf(name) !== names.lastIndexOf(name)) refuse(400, 'DuplicateHeaders');
}

// The bundle id of a topic, which must have the suffix of its type.
function check_topic(set, h) {
  const topic = h['apns-topic'] ?? '';
  const suffix = TYPES[h['apns-push-type']] ?? '';
  const bundle = set.topics.find((t) => topic === t + suffix);
  if (!set.suffix) return topic;
  if (!bundle)
    refuse(400, set.topics.some((t) => topic.startsWith(t)) ? 'TopicDisallowed' : 'BadTopic');
  return bundle;
}

function check_activity(aps) {
  if (!Number.isInteger(aps.timestamp)) refuse(400, 'BadPayload');
  if (!['start', 'update', 'end'].includes(aps.event)) refuse(400, 'BadPayload');
  if (aps.event !== 'end' && typeof aps['content-state'] !== 'object') refuse(400, 'BadPayload');
  if (aps.event === 'start' && (!aps['attributes-type'] || typeof aps.attributes !== 'object' || !aps.alert))
    refuse(400, 'BadPayload');
}

function check_payload(set, type, body) {
  if (body.length === 0) refuse(400, 'PayloadEmpty');
  if (set.sizes && body.length > (type === 'voip' ? 5120 : 4096)) refuse(413, 'PayloadTooLarge');
  let payload;
  try {
    payload = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    refuse(400, 'BadPayload');
  }
  if (!set.shape) return payload;
  if (typeof payload !== 'object' || payload === null || Array.isArray(payload)) refuse(400, 'BadPayload');
  if (type !== 'voip' && (typeof payload.aps !== 'object' || payload.aps === null))
    refuse(400, 'PayloadEmpty');
  if (type === 'liveactivity') check_activity(payload.aps);
  return payload;
}

function check_token(set, session, hex) {
  const token = set.tokens[hex];
  const state = token?.state ?? (set.unknown === 'active' ? 'active' : 'unknown');
  const since = token?.since ?? Date.now();
  switch (state) {
    case 'active':
      return;
    case 'wrong_topic':
      return refuse(400, 'DeviceTokenNotForTopic');
    case 'unregistered':
      return refuse(410, 'Unregistered', { timestamp: since });
    case 'expired':
      return refuse(410, 'ExpiredToken', { timestamp: since });
    case 'flooded':
      if (token.count === 0) return;
      if (token.count > 0) token.count--;
      return refuse(429, 'TooManyRequests');
    default: // unknown, wrong_env
      session.bad_tokens = (session.bad_tokens ?? 0) + 1;
      return refuse(400, 'BadDeviceToken');
  }
}

// ---- streams

function streams(session, n) {
  if (session.destroyed || session.closed || session.limit === n) return;
  session.limit = n;
  session.settings({ maxConcurrentStreams: n });
}

function after_verdict(set, session, refusal) {
  if (!refusal) {
    streams(session, set.streams);
  } else if (refusal.status !== 410 && set.streams_rejected) {
    streams(session, set.streams_rejected);
  }
  if (set.bad_tokens_max && session.bad_tokens >= set.bad_tokens_max) {
    session.bad_tokens = 0;
    goaway(session, 0, 'BadDeviceToken');
  }
}

// Says goodbye: the last `below` requests count as not processed. What was processed is answered.
function goaway(session, below, reason) {
  if (session.destroyed || session.leaving) return;
  const last = Math.max(0, session.last_id - 2 * below);
  session.leaving = true;
  session.last_good = last;
  session.goaway(NGHTTP2_NO_ERROR, last, Buffer.from(JSON.stringify({ reason })));
  end_when_done(session);
}

function end_when_done(session) {
  if (!session.leaving || session.destroyed || session.working > 0) return;
  setTimeout(() => session.destroyed || session.destroy(), 100);
}

function judge(set, stream, headers, raw, body) {
  const session = stream.session;
  if (set.fail && set.fail.count > 0) {
    set.fail.count--;
    refuse(set.fail.status, set.fail.reason);
  }
  if (set.duplicates) check_duplicates(raw);
  const hex = check_headers(set, headers);
  const topic = check_topic(set, headers);
  check_jwt(set, session, headers.authorization, topic);
  const payload = check_payload(set, headers['apns-push-type'], body);
  check_token(set, session, hex);
  return payload;
}

function answer(set, stream, id, refusal) {
  if (stream.destroyed || stream.closed) {
    seen.unanswered++;
    return;
  }
  const head = { ':status': refusal?.status ?? 200, 'apns-id': id };
  let body = refusal ? JSON.stringify({ reason: refusal.reason, ...refusal.more }) : '';
  if (set.reply) {
    head[':status'] = set.reply.status;
    Object.assign(head, set.reply.headers ?? {});
    body = set.reply.body ?? '';
  }
  if (body) head['content-type'] = 'application/json';
  stream.respond(head, { endStream: !body });
  if (body) stream.end(body);
}

function note(headers, body, refusal, id) {
  const reason = refusal?.reason ?? 'ok';
  seen.answers[reason] = (seen.answers[reason] ?? 0) + 1;
  if (!refusal) {
    const n = (seen.ids.get(id) ?? 0) + 1;
    seen.ids.set(id, n);
    seen.accepted++;
    if (n > 1) seen.doubled++;
  }
  seen.last.push({ status: refusal?.status ?? 200, reason, at_ms: Date.now(),
    headers: { ...headers, authorization: headers.authorization ? '…' : undefined },
    payload: body.toString() });
  if (seen.last.length > LAST_MAX) seen.last.shift();
}

// True when the fault has taken the request.
function fault_before(set, session, stream) {
  const n = session.requests;
  const due = (every) => every > 0 && n % every === 0;
  if (session.leaving && stream.id > session.last_good) return true; // never answered: it was told
  if (due(set.refuse_every)) {
    stream.close(NGHTTP2_REFUSED_STREAM);
    return true;
  }
  if (due(set.drop_every)) {
    session.raw.destroy();
    return true;
  }
  if (due(set.goaway_every)) {
    goaway(session, set.goaway_below, 'Shutdown');
    return session.leaving && stream.id > session.last_good;
  }
  if (due(set.flap_every))
    streams(session, session.limit === set.streams ? Math.max(1, set.streams >> 4) : set.streams);
  return false;
}

function fault_after(set, session, stream) {
  const due = (every) => every > 0 && session.requests % every === 0;
  if (due(set.drop_after_every)) session.raw.destroy();
  else if (due(set.reset_every)) stream.close(NGHTTP2_INTERNAL_ERROR);
  else return false;
  return true;
}

function on_request(set, stream, headers, raw, body) {
  const session = stream.session;
  if (!session || session.destroyed || stream.destroyed || session.hole) return;
  if (session.leaving && stream.id > session.last_good) return;
  seen.requests++;
  session.requests++;
  session.last_id = Math.max(session.last_id, stream.id);
  if (fault_before(set, session, stream)) return;
  const id = headers['apns-id'] ?? crypto.randomUUID();
  let refusal = null;
  try {
    judge(set, stream, headers, raw, body);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    refusal = error;
  }
  note(headers, body, refusal, id);
  after_verdict(set, session, refusal);
  if (fault_after(set, session, stream)) return;
  session.working++;
  const done = () => {
    session.working--;
    if (!session.hole) answer(set, stream, id, refusal);
    end_when_done(session);
  };
  const wait_ms = set.delay_ms + Math.random() * set.spread_ms;
  if (wait_ms > 0) setTimeout(done, wait_ms);
  else done();
}

// ---- the server

function on_stream(set, stream, headers, flags, raw) {
  const parts = [];
  stream.on('error', () => {});
  stream.on('close', () => {
    if (stream.aborted && stream.rstCode !== NGHTTP2_NO_ERROR)
      seen.client_rst[stream.rstCode] = (seen.client_rst[stream.rstCode] ?? 0) + 1;
  });
  stream.on('data', (part) => parts.push(part));
  stream.on('end', () => on_request(set, stream, headers, raw, Buffer.concat(parts)));
}

function serve(set, files) {
  const sessions = new Set(), first = set.streams_first;
  const server = http2.createSecureServer({
    cert: fs.readFileSync(files.cert),
    key: fs.readFileSync(files.key),
    allowHTTP1: false,
    maxOutstandingSettings: 10000,
    settings: { maxConcurrentStreams: set.streams_first, initialWindowSize: set.window,
      maxHeaderListSize: 8000, enablePush: false },
    ...(files.client_ca ? { requestCert: true, rejectUnauthorized: true, ca: fs.readFileSync(files.client_ca) } : {}),
  });
  let raw;
  server.prependListener('secureConnection', (socket) => { raw = socket; }); // before node's own
  server.on('session', (session) => {
    seen.sessions++;
    seen.opened_ms.push(Date.now());
    Object.assign(session, { requests: 0, last_id: 0, working: 0, limit: first, raw });
    streams(session, set.streams_first);
    sessions.add(session);
    session.on('error', () => { seen.session_errors++; });
    session.on('goaway', () => { seen.client_goaway++; });
    session.on('ping', () => { seen.pings++; });
    session.on('close', () => sessions.delete(session));
  });
  server.on('stream', (...args) => on_stream(set, ...args));
  server.on('sessionError', () => {});
  server.on('tlsClientError', () => {});
  return { server, sessions };
}

// Acts on open connections: {"what":…, "which": index; absent: all of them}.
const DO = {
  goaway: (session, how) => {
    goaway(session, how.below ?? 0, how.reason ?? 'Shutdown');
    if (how.twice) session.destroyed || session.goaway(NGHTTP2_NO_ERROR, session.last_good);
  },
  drop: (session) => session.raw.destroy(),
  half_close: (session) => session.raw.end(),
  black_hole: (session) => { // nothing is read or answered any more, and nothing is closed
    session.hole = true;
    session.raw._handle?.readStop?.();
    const parent = session.raw._parent ?? session.raw;
    parent.pause?.();
    parent._handle?.readStop?.();
  },
};

function verdict(sessions) {
  const { ids, jwts, last, opened_ms, ...rest } = seen;
  const minute_ago = Date.now() - 60000;
  return { ...rest, unique: ids.size, jwts: jwts.size, open: sessions.size,
    opened_last_minute: opened_ms.filter((at) => at > minute_ago).length };
}

function merge(set, change) {
  for (const [name, value] of Object.entries(change)) {
    if (!(name in SETTINGS)) throw new Error(`no such setting: ${name}`);
    if (name === 'tokens' || name === 'keys') Object.assign(set[name], value);
    else set[name] = value;
  }
}

function administer(set, sessions, request, text) {
  const body = text ? JSON.parse(text) : {};
  switch (`${request.method} ${request.url}`) {
    case 'POST /set':
      merge(set, body);
      return {};
    case 'POST /do': {
      const chosen = [...sessions].filter((_, i) => body.which === undefined || i === body.which);
      for (const session of chosen) DO[body.what](session, body);
      return { sessions: chosen.length };
    }
    case 'POST /clear':
      clear();
      adopted.clear();
      return {};
    case 'GET /verdict':
      return verdict(sessions);
    case 'GET /last':
      return seen.last;
    default:
      throw new Error('no such request');
  }
}

function main() {
  const { port = 0, host = '127.0.0.1', cert, key, client_ca, ...rest } =
    JSON.parse(process.argv[2] ?? '{}');
  const set = structuredClone(SETTINGS);
  merge(set, rest);
  clear();
  const { server, sessions } = serve(set, { cert, key, client_ca });
  const admin = http.createServer((request, response) => {
    let text = '';
    request.on('data', (part) => { text += part; });
    request.on('end', () => {
      try {
        response.end(JSON.stringify(administer(set, sessions, request, text)));
      } catch (error) {
        response.statusCode = 400;
        response.end(JSON.stringify({ error: error.message }));
      }
    });
  });
  server.listen(port, host, () => admin.listen(0, '127.0.0.1', () => {
    console.log(JSON.stringify({ port: server.address().port, admin: admin.address().port }));
  }));
  process.stdin.on('end', () => process.exit(0)).resume(); // ends with whoever started it
}

if (process.argv[1] === new URL(import.meta.url).pathname) main();

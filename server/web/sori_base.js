/**
 * What all parts of the client library need: errors, events, timers, the browser's surroundings,
 * storage, and the id of this tab.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

/** An error of the server (`code`, `status`, `details` as in docs/SIGNALING.md §7) or of this
 * library: `closed` (stopped before the answer came), `offline` (no connection in time), `busy_link`
 * (too much is unacknowledged), `bad_state` (not now). */
export class SoriError extends Error {
  constructor(code, message, data = {}) {
    super(message || code);
    this.name = 'SoriError';
    this.code = code;
    this.status = data.status ?? 0;
    this.retryable = data.retryable ?? false;
    this.retryAfterMs = data.retryAfterMs ?? 0;
    this.details = data.details ?? {};
  }
}

/** Event whose fields are plain properties: `event.call`, `event.users`. */
export class SoriEvent extends Event {
  constructor(type, fields) {
    super(type);
    Object.assign(this, fields);
  }
}

/** Named one-shot timers of one owner: setting a name again replaces it. */
export class Timers {
  #env;
  #ids = new Map();

  constructor(env) {
    this.#env = env;
  }

  set(name, ms, fn) {
    this.clear(name);
    this.#ids.set(name, this.#env.setTimeout(() => {
      this.#ids.delete(name);
      fn();
    }, ms));
  }

  has(name) {
    return this.#ids.has(name);
  }

  clear(name) {
    if (!this.#ids.has(name)) return;
    this.#env.clearTimeout(this.#ids.get(name));
    this.#ids.delete(name);
  }

  clearAll() {
    for (const name of [...this.#ids.keys()]) this.clear(name);
  }
}

/** What the library takes from its surroundings; tests and Node.js override parts of it. */
export function surroundings(over = {}) {
  const g = globalThis;
  return {
    WebSocket: g.WebSocket,
    RTCPeerConnection: g.RTCPeerConnection,
    RTCRtpReceiver: g.RTCRtpReceiver,
    MediaStream: g.MediaStream,
    mediaDevices: g.navigator?.mediaDevices,
    connection: g.navigator?.connection,
    locks: g.navigator?.locks,
    window: typeof g.document === 'undefined' ? undefined : g,
    document: g.document,
    setTimeout: (fn, ms) => g.setTimeout(fn, ms),
    clearTimeout: (id) => g.clearTimeout(id),
    now: () => Date.now(),
    random: () => Math.random(),
    randomBytes: (n) => g.crypto.getRandomValues(new Uint8Array(n)),
    ...over,
  };
}

export const hex = (bytes) => Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');

/** RFC 9562 version 4. crypto.randomUUID() would need a secure context. */
export function uuid(env) {
  const b = env.randomBytes(16);
  b[6] = (b[6] & 0x0f) | 0x40;
  b[8] = (b[8] & 0x3f) | 0x80;
  const h = hex(b);
  return `${h.slice(0, 8)}-${h.slice(8, 12)}-${h.slice(12, 16)}-${h.slice(16, 20)}-${h.slice(20)}`;
}

export function defaultStorage() {
  try {
    return globalThis.sessionStorage ?? null; // throws where cookies are blocked
  } catch {
    return null;
  }
}

export function loadJson(storage, key) {
  try {
    return JSON.parse(storage?.getItem(key) ?? 'null');
  } catch {
    return null;
  }
}

export function saveJson(storage, key, value) {
  try {
    if (value === null) storage?.removeItem(key);
    else storage?.setItem(key, JSON.stringify(value));
  } catch { /* full or forbidden: a reload then starts a new session */ }
}

/**
 * Gives this tab a device id that a reload keeps and a duplicated tab does not share.
 *
 * A duplicate starts with a copy of sessionStorage, and one socket per device is the rule: the two
 * would take the connection from each other for ever. So the id is held by a Web Lock for the life
 * of the page; who can't get the lock is the duplicate and takes a new id. (The lock of a page that
 * is being reloaded goes a moment after the new page starts, so it is waited for a little.)
 *
 * @param {Storage|null} [storage] where the id is kept; sessionStorage by default
 * @param {object} [env] `locks`, `setTimeout`, `clearTimeout`, `randomBytes` for tests
 * @returns {Promise<string>} 1 to 64 of A-Z a-z 0-9 . _ -
 */
export async function tabDeviceId(storage = defaultStorage(), env = {}) {
  const e = surroundings(env);
  const key = 'sori.device';
  const kept = loadJson(storage, key);

  if (typeof kept === 'string' && await holdLock(e, `${key}.${kept}`)) return kept;
  const fresh = `web-${hex(e.randomBytes(8))}`;
  await holdLock(e, `${key}.${fresh}`);
  saveJson(storage, key, fresh);
  return fresh;
}

/** True when the lock is ours until the page goes; also where there are no locks at all. */
function holdLock(env, name) {
  if (!env.locks) return Promise.resolve(true);
  return new Promise((resolve) => {
    const patience = new AbortController();
    const timer = env.setTimeout(() => patience.abort(), 500);
    env.locks.request(name, { signal: patience.signal }, () => {
      env.clearTimeout(timer);
      resolve(true);
      return new Promise(() => {});
    }).catch(() => resolve(false));
  });
}

/**
 * sori-server, sori-turn and, where asked for, sori-sfu for one test file: own configuration in a temporary directory, started
 * and stopped here, with deadlines. Meant for a network namespace of its own, where ports are free.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import { execFileSync, spawn } from 'node:child_process';
import { X509Certificate, createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = resolve(fileURLToPath(import.meta.url), '../../..');
const BUILD = resolve(ROOT, process.env.BUILD ?? 'build/gcc');

/** The address that the media uses: of the veth pair that run_browser.mjs makes. */
export const MEDIA_IP = '10.77.0.1';
export const PAGE_URL = 'http://127.0.0.1:8080/';
/** How a client may reach the relay, by transport. */
export const TURN_URL = {
  udp: `turn:${MEDIA_IP}:3478?transport=udp`,
  tcp: `turn:${MEDIA_IP}:3478?transport=tcp`,
  tls: `turns:${MEDIA_IP}:5349?transport=tcp`,
};
const TURN_ADMIN = '127.0.0.1:9641';
const SFU_ADMIN = '127.0.0.1:9642';
const SFU_PORT = 7882;

const START_MS = 10_000;
const STOP_MS = 5_000;

/** What tests change: many calls in a short time, and a short ring. */
const serverIni = (dir, over) => `
[server]
listen_tls =
listen_clear = 127.0.0.1:8080
origins = http://127.0.0.1:8080
page = yes
[auth]
hs256_secret_file = ${dir}/jwt.secret
[dev]
enabled = yes
[call]
ring_timeout = ${over.ringTimeoutS ?? 30}
[turn]
urls = ${over.turnUrl ?? TURN_URL.udp}
secret_file = ${dir}/turn.secret
ttl = ${over.turnTtlS ?? 600}
[limits]
handshakes_per_s = 0
login_failures_per_10min = 0
invites_per_10s = 0
invites_per_hour = 0
invites_per_pair_per_min = 0
subscribes_per_min = 0
[log]
level = debug
${over.sfu ? `[sfu]
nodes = sfu-1=unix:${dir}/sfu.sock
secret_file = ${dir}/sfu.secret
[room]
joins_per_10s = 0
creator_is_admin = yes
` : ''}${over.serverIni?.(dir) ?? ''}`;

const sfuIni = (dir, over) => `
[sfu]
listen = ${MEDIA_IP}
port = ${SFU_PORT}
threads = ${over.sfuThreads ?? 1}
drain_timeout = 0
[control]
listen = unix:${dir}/sfu.sock
socket = ${dir}/sfuctl.sock
secret_file = ${dir}/sfu.secret
[admin]
listen = ${SFU_ADMIN}
[log]
level = debug
${over.sfuIni ?? ''}`;

const turnIni = (dir) => `
[turn]
listen_udp = ${MEDIA_IP}:3478
listen_tcp = ${MEDIA_IP}:3478
listen_tls = ${MEDIA_IP}:5349
[auth]
secret_file = ${dir}/turn.secret
[limits]
unauthenticated_per_second = 0
[peers]
allow_private_peers = yes
allow_own_addresses = yes
[tls]
cert_file = ${dir}/turn.cert
key_file = ${dir}/turn.key
[admin]
listen = ${TURN_ADMIN}
[log]
level = debug
`;

/** A self-signed certificate of the relay; gives the hash that stands for its key (RFC 7469 §2.4). */
function makeCertificate(dir) {
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
    '-days', '2', '-subj', '/CN=sori test', '-addext', `subjectAltName=IP:${MEDIA_IP}`,
    '-keyout', `${dir}/turn.key`, '-out', `${dir}/turn.cert`], { stdio: 'ignore' });
  const key = new X509Certificate(readFileSync(`${dir}/turn.cert`)).publicKey;
  return createHash('sha256').update(key.export({ type: 'spki', format: 'der' })).digest('base64');
}

class Daemon {
  constructor(name, dir, ini) {
    const binary = process.env[`${name.toUpperCase().replace('-', '_')}_BIN`] ?? join(BUILD, name);

    this.name = name;
    this.log = join(dir, `${name}.log`);
    const conf = join(dir, `${name}.ini`);
    writeFileSync(conf, ini);
    const fd = openSync(this.log, 'w');
    this.process = spawn(binary, ['--config', conf], { stdio: ['ignore', fd, fd] });
    this.ended = new Promise((done) => {
      this.process.on('exit', (code, signal) => done(signal ?? code));
      this.process.on('error', (error) => done(error.message));
    });
    this.running = true;
    this.ended.then(() => { this.running = false; });
  }

  tail() {
    return readFileSync(this.log, 'utf8').split('\n').slice(-30).join('\n');
  }

  /** Waits until url answers 200. */
  async ready(url) {
    const until = Date.now() + START_MS;

    while (Date.now() < until) {
      if (!this.running) throw new Error(`${this.name} ended (${await this.ended}):\n${this.tail()}`);
      const ok = await fetch(url).then((r) => r.ok, () => false);
      if (ok) return;
      await new Promise((again) => { setTimeout(again, 50); });
    }
    throw new Error(`${this.name} is not ready after ${START_MS} ms:\n${this.tail()}`);
  }

  /** SIGINT (sori-turn drains on SIGTERM); it must end well within its time. */
  async stop() {
    const killer = setTimeout(() => this.process.kill('SIGKILL'), STOP_MS);

    this.process.kill('SIGINT');
    const how = await this.ended;
    clearTimeout(killer);
    if (how !== 0) throw new Error(`${this.name} ended with ${how}:\n${this.tail()}`);
  }
}

/** Starts them; `serverIni(dir)` gives more lines for the server; `sfu: true` with an SFU, `sfuIni` more lines for it. `ringTimeoutS` is the server's [call] ring_timeout, `turnTtlS` its [turn] ttl,
 *  `turnUrl` its [turn] urls. */
export async function startDaemons(over = {}) {
  const dir = mkdtempSync(join(tmpdir(), 'sori-e2e-'));

  for (const secret of ['jwt.secret', 'turn.secret', 'sfu.secret'])
    writeFileSync(join(dir, secret), randomBytes(32).toString('hex'), { mode: 0o600 });
  const turnKeyHash = makeCertificate(dir);
  const turn = new Daemon('sori-turn', dir, turnIni(dir));
  let server = new Daemon('sori-server', dir, serverIni(dir, over));
  let sfu = over.sfu ? new Daemon('sori-sfu', dir, sfuIni(dir, over)) : null;
  const ready = () => server.ready(`${PAGE_URL}readyz`);
  const sfuReady = () => sfu.ready(`http://${SFU_ADMIN}/readyz`);

  await Promise.all([ready(), turn.ready(`http://${TURN_ADMIN}/readyz`), ...(sfu ? [sfuReady()] : [])]);
  return {
    turnKeyHash,
    /** Value of a metric of sori-turn, over all its labels. */
    async turnMetric(name) {
      const text = await (await fetch(`http://${TURN_ADMIN}/metrics`)).text();
      return text.split('\n')
        .filter((line) => line.split(/[{ ]/)[0] === name)
        .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
    },
    async restartServer() {
      await server.stop();
      server = new Daemon('sori-server', dir, serverIni(dir, over));
      await ready();
    },
    /** Value of a metric of sori-sfu, over all its labels. */
    async sfuMetric(name) {
      const text = await (await fetch(`http://${SFU_ADMIN}/metrics`)).text();
      return text.split('\n')
        .filter((line) => line.split(/[{ ]/)[0] === name)
        .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
    },
    /** Kills the SFU without a word and starts it anew. */
    async crashSfu() {
      sfu.process.kill('SIGKILL');
      await sfu.ended;
      sfu = new Daemon('sori-sfu', dir, sfuIni(dir, over));
      await sfuReady();
    },
    async stop() {
      await Promise.all([server.stop(), turn.stop(), ...(sfu ? [sfu.stop()] : [])]);
      rmSync(dir, { recursive: true });
    },
  };
}

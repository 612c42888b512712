// Two push clients of others, against the stand-in. Prints one JSON object a push.
//
//     node apns_clients.mjs node-apn|apns2 '{"port":N,"key":FILE,"keyId":…,"teamId":…}'
//
// Reads an array of {token, topic, type, priority, expiry?, id?, payload} from standard input.
// NODE_EXTRA_CA_CERTS has to name the stand-in's certificate. SPDX-License-Identifier: BSD-3-Clause
import fs from 'node:fs';
import process from 'node:process';

import '../lib/node18.mjs';

const [, , which, options] = process.argv;
const how = JSON.parse(options);
const pushes = JSON.parse(fs.readFileSync(0));

async function node_apn() {
  const apn = (await import('@parse/node-apn')).default;
  const provider = new apn.Provider({
    token: { key: how.key, keyId: how.keyId, teamId: how.teamId },
    address: 'localhost', port: how.port, production: true,
    ca: fs.readFileSync(process.env.NODE_EXTRA_CA_CERTS),
  });
  const results = [];
  for (const p of pushes) {
    const note = new apn.Notification();
    note.topic = p.topic;
    note.pushType = p.type;
    note.priority = p.priority;
    if (p.expiry !== undefined) note.expiry = p.expiry;
    if (p.id) note.id = p.id;
    note.rawPayload = p.payload;
    const { sent, failed } = await provider.send(note, p.token);
    const f = failed[0];
    results.push(sent.length ? { status: 200 } :
      { status: f.status, reason: f.response?.reason, timestamp: f.response?.timestamp, error: f.error?.message });
  }
  await provider.shutdown();
  return results;
}

async function apns2() {
  const { ApnsClient, Notification, PushType } = await import('apns2');
  const client = new ApnsClient({
    team: how.teamId, keyId: how.keyId, signingKey: fs.readFileSync(how.key), defaultTopic: how.topic,
    host: 'localhost', keepAlive: true,
  });
  class Raw extends Notification {
    constructor(p) {
      super(p.token, { type: PushType[p.type], topic: p.topic, priority: p.priority, expiration: p.expiry });
      this.p = p;
    }
    get pushType() { return this.p.type; }
    buildApnsOptions() { return this.p.payload; }
  }
  const results = [];
  for (const p of pushes) {
    try {
      await client.send(new Raw(p));
      results.push({ status: 200 });
    } catch (error) {
      results.push({ status: error.statusCode, reason: error.reason, timestamp: error.response?.timestamp, error: String(error) });
    }
  }
  await client.close();
  return results;
}

for (const result of await (which === 'apns2' ? apns2() : node_apn()))
  console.log(JSON.stringify(result));
process.exit(0);

// @parse/node-apn beside bench/load/h2_push: the same pushes to the same server.
//
//     node apn_client.mjs PORT CA KEY N INFLIGHT    KEY: a P-256 key in PEM; prints one JSON object
//
// SPDX-License-Identifier: BSD-3-Clause
import { readFileSync } from "node:fs";
import apn from "@parse/node-apn";

const [port, ca, key, n, inflight] = process.argv.slice(2).map((v, i) => ([0, 3, 4].includes(i) ? Number(v) : v));
const TOKEN = "740f4707bebcf74f9b7c25d48e3358945f6aa01da5ddb387462c7eaf61bb78ad";

const provider = new apn.Provider({
  token: { key: readFileSync(key), keyId: "ABC123DEFG", teamId: "DEF123GHIJ" },
  address: "localhost",
  port,
  ca: [readFileSync(ca)],
  production: true,
});

function notification(i) {
  const note = new apn.Notification();
  note.topic = "com.example.talk.voip";
  note.pushType = "voip";
  note.priority = 10;
  note.expiry = 0;
  note.id = `00000000-0000-4000-8000-${String(i).padStart(12, "0")}`;
  note.rawPayload = { aps: {}, call_id: "6f1e2a34-0000-4000-8000-000000000000", from: "u1", name: "x".repeat(60), ts: 1795383765 };
  return note;
}

let sent = 0, answered = 0, failed = 0;
const why = new Set();

async function lane(limit) {
  while (sent < limit) {
    const result = await provider.send(notification(sent++), TOKEN);
    answered += result.sent.length;
    failed += result.failed.length;
    for (const f of result.failed) why.add(String(f.status ?? f.error?.message ?? f.error));
  }
}

async function run(limit) {
  await Promise.all(Array.from({ length: inflight }, () => lane(limit)));
}

await run(Math.min(100, n)); // connects, warms up
const base = { answered, failed };
sent = 0;
const cpu = process.cpuUsage(), begun = process.hrtime.bigint();
await run(n);
const used = process.cpuUsage(cpu);
console.log(JSON.stringify({
  sent: n, answered: answered - base.answered, failed: failed - base.failed, why: [...why].slice(0, 3),
  seconds: Number(process.hrtime.bigint() - begun) / 1e9, cpu_s: (used.user + used.system) / 1e6,
  rss_kb: process.resourceUsage().maxRSS,
}));
await provider.shutdown();
process.exit(0);

// Requests to the stand-in exactly as given, right or wrong; prints one JSON array of the answers.
//
//     node apns_raw.mjs PORT CA < '[[{"headers":[[NAME,VALUE],…],"body":TEXT,"pad":BYTES}, …], …]'
//
// Each inner array is one connection, its requests one after the other.
// SPDX-License-Identifier: BSD-3-Clause
import fs from 'node:fs';
import http2 from 'node:http2';
import process from 'node:process';

const [, , port, ca] = process.argv;

function ask(session, { headers, body = '', pad = 0 }) {
  return new Promise((resolve) => {
    const flat = {};
    for (const [name, value] of headers)
      flat[name] = name in flat ? [].concat(flat[name], value) : value;
    const stream = session.request(flat, { endStream: false });
    let answer = {}, text = '';
    stream.on('response', (h) => { answer = { status: h[':status'], id: h['apns-id'] }; });
    stream.on('data', (part) => { text += part; });
    stream.on('error', (error) => { answer.error = error.code; });
    stream.on('close', () => {
      try { Object.assign(answer, JSON.parse(text)); } catch { answer.text = text; }
      if (stream.rstCode) answer.rst = stream.rstCode;
      resolve(answer);
    });
    stream.end(body + ' '.repeat(pad));
  });
}

async function talk(requests) {
  const session = http2.connect(`https://localhost:${port}`, { ca: fs.readFileSync(ca) });
  const answers = [];
  session.on('error', () => {});
  session.on('goaway', (code, last, data) => answers.push({ goaway: code, last, data: data?.toString() }));
  for (const request of requests) {
    if (session.destroyed || session.closed) break;
    answers.push(await ask(session, request));
  }
  session.close();
  return answers;
}

const all = [];
for (const requests of JSON.parse(fs.readFileSync(0))) all.push(await talk(requests));
console.log(JSON.stringify(all));
process.exit(0);

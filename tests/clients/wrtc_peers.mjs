/**
 * Two RTCPeerConnections of libwebrtc (npm's @roamhq/wrtc) that may use only relayed candidates, for
 * tests/e2e/turn_wrtc_test.py: node wrtc_peers.mjs URL USER PASSWORD
 *
 * One sends numbered messages over a data channel, the other sends each back. Prints the selected
 * pair as "pair: TYPE TYPE RELAYPROTOCOL". Ends with 0 when every message came back unchanged.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import wrtc from '@roamhq/wrtc';

const [urls, username, credential] = process.argv.slice(2);
const MESSAGES = 100;
const STEP_BYTES = 300;
const DEADLINE_MS = 30_000;

const text = (i) => String.fromCharCode(97 + i % 26).repeat(1 + i * STEP_BYTES);

function newPeer() {
  return new wrtc.RTCPeerConnection({
    iceServers: [{ urls, username, credential }], iceTransportPolicy: 'relay',
  });
}

/** The selected pair of a connection, from its statistics. */
async function selected(peer) {
  const stats = [...(await peer.getStats()).values()];
  const transport = stats.find((s) => s.type === 'transport');
  const pair = stats.find((s) => s.id === transport.selectedCandidatePairId);
  const local = stats.find((s) => s.id === pair.localCandidateId);
  const remote = stats.find((s) => s.id === pair.remoteCandidateId);

  return `${local.candidateType} ${remote.candidateType} ${local.relayProtocol}`;
}

async function negotiate(a, b) {
  await a.setLocalDescription(await a.createOffer());
  await b.setRemoteDescription(a.localDescription);
  await b.setLocalDescription(await b.createAnswer());
  await a.setRemoteDescription(b.localDescription);
}

setTimeout(() => {
  console.log(`not done in ${DEADLINE_MS} ms`);
  process.exit(1);
}, DEADLINE_MS).unref();

const [a, b] = [newPeer(), newPeer()];
for (const [from, to] of [[a, b], [b, a]]) {
  from.onicecandidate = ({ candidate }) => {
    if (candidate) {
      console.log(candidate.candidate);
      to.addIceCandidate(candidate).catch((error) => console.log(error.message));
    }
  };
  from.onicecandidateerror = (error) => console.log(`${error.errorCode} ${error.errorText}`);
}
b.ondatachannel = ({ channel }) => {
  channel.onmessage = ({ data }) => channel.send(data);
};
const channel = a.createDataChannel('echo');
const opened = new Promise((open) => { channel.onopen = open; });
await negotiate(a, b);
await opened;
for (let i = 0; i < MESSAGES; i++) {
  const echo = new Promise((got) => { channel.onmessage = ({ data }) => got(data); });
  channel.send(text(i));
  if (await echo !== text(i)) {
    console.log(`message ${i} was changed`);
    process.exit(1);
  }
}
console.log(`${MESSAGES} messages came back`);
console.log(`pair: ${await selected(a)}`);
console.log(`pair: ${await selected(b)}`);
a.close();
b.close();
process.exit(0);

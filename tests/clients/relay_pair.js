/**
 * In a browser's page: two RTCPeerConnections that may use only relayed candidates. A function
 * expression, for tests/e2e/turn_firefox_test.py.
 *
 * Sends numbered messages over a data channel, takes each back, and waits until the picture of a
 * canvas was decoded on the other side. Gives {echoes, frames, pairs}.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
async (urls, username, credential) => {
  const MESSAGES = 50;
  const STEP_BYTES = 300;
  const FRAMES = 10;
  const text = (i) => String.fromCharCode(97 + i % 26).repeat(1 + i * STEP_BYTES);
  const newPeer = () => new RTCPeerConnection({
    iceServers: [{ urls, username, credential }], iceTransportPolicy: 'relay',
  });
  const [a, b] = [newPeer(), newPeer()];

  for (const [from, to] of [[a, b], [b, a]])
    from.onicecandidate = ({ candidate }) => { if (candidate) to.addIceCandidate(candidate); };
  const failed = new Promise((_, fail) => {
    for (const peer of [a, b]) {
      peer.oniceconnectionstatechange = () => {
        if (peer.iceConnectionState === 'failed') fail(new Error('no way was found'));
      };
    }
  });

  const canvas = document.createElement('canvas');
  const pen = canvas.getContext('2d');
  const drawing = setInterval(() => {
    pen.fillStyle = `hsl(${Date.now() % 360} 90% 50%)`;
    pen.fillRect(0, 0, canvas.width, canvas.height);
  }, 40);
  for (const track of canvas.captureStream(25).getTracks()) a.addTrack(track);
  b.ondatachannel = ({ channel }) => {
    channel.onmessage = ({ data }) => channel.send(data);
  };
  const channel = a.createDataChannel('echo');
  const opened = new Promise((open) => { channel.onopen = open; });

  await a.setLocalDescription();
  await b.setRemoteDescription(a.localDescription);
  await b.setLocalDescription();
  await a.setRemoteDescription(b.localDescription);
  await Promise.race([opened, failed]);

  let echoes = 0;
  for (let i = 0; i < MESSAGES; i++) {
    const echo = new Promise((got) => { channel.onmessage = ({ data }) => got(data); });
    channel.send(text(i));
    echoes += await Promise.race([echo, failed]) === text(i);
  }
  const stats = async (peer) => [...(await peer.getStats()).values()];
  let frames = 0;
  while (frames < FRAMES) {
    await new Promise((again) => { setTimeout(again, 50); });
    frames = (await stats(b)).find((s) => s.type === 'inbound-rtp')?.framesDecoded ?? 0;
  }
  clearInterval(drawing);

  const pairs = [];
  for (const peer of [a, b]) {
    const all = await stats(peer);
    const pair = all.find((s) => s.type === 'candidate-pair' && s.selected);
    const local = all.find((s) => s.id === pair.localCandidateId);
    const remote = all.find((s) => s.id === pair.remoteCandidateId);
    pairs.push(`${local.candidateType} ${remote.candidateType} ${local.relayProtocol}`);
    peer.close();
  }
  return { echoes, frames, pairs };
}

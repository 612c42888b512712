/**
 * One WebRTC client of a room that a Python test drives: node media_client.mjs wrtc|chromium
 *
 * Commands are JSON objects, one a line, on stdin; each is answered by one on stdout:
 *   {do: "offer", audio: "send"|"both"|"recv"|"", slots: n, video: n, red, nack}   {sdp, mids}
 *       a microphone (a tone) if it sends; receive sections for audio (slots) and video
 *   {do: "answer", sdp}
 *   {do: "restart"}                         an offer with an ICE restart: {sdp}
 *   {do: "stats"}                           {audio: [...], video: [...], pair, ms}
 *   {do: "gaps"}                            video frames since the last time: {frames, gaps: [[ms, at]...]}
 * Signalling is the test's business, so it does not go through the network that is made bad.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import { createInterface } from 'node:readline';

const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
  '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream',
  '--autoplay-policy=no-user-gesture-required',
];

/**
 * The client itself, in Node or in a page: must not use anything from around it.
 * host: {RTCPeerConnection, audioTrack() , watch(track)}
 */
function makeClient(host) {
  let pc;
  const frames = { count: 0, last: 0, gaps: [] };

  /** Asks for retransmission of Opus, which libwebrtc does only when both descriptions say so. */
  function withAudioNack(sdp) {
    const opus = /a=rtpmap:(\d+) opus/.exec(sdp)?.[1];
    return sdp.replaceAll(new RegExp(`(a=rtpmap:${opus} opus[^\r\n]*\r\n)`, 'g'), `$1a=rtcp-fb:${opus} nack\r\n`);
  }

  function redFirst(transceiver) {
    const caps = host.capabilities?.();
    if (!caps || !transceiver.setCodecPreferences) return;
    const red = caps.filter((c) => c.mimeType === 'audio/red');
    transceiver.setCodecPreferences([...red, ...caps.filter((c) => c.mimeType !== 'audio/red')]);
  }

  async function describe(options, nack) {
    const offer = await pc.createOffer(options);
    const sdp = nack ? withAudioNack(offer.sdp) : offer.sdp;
    await pc.setLocalDescription({ type: 'offer', sdp });
    return { sdp };
  }

  return {
    async offer({ audio, slots = 0, video = 0, red = true, nack = true }) {
      pc = new host.RTCPeerConnection({ bundlePolicy: 'max-bundle' });
      this.nack = nack;
      pc.ontrack = ({ track }) => host.watch(track, frames);
      if (audio === 'send' || audio === 'both') {
        const t = pc.addTransceiver(await host.audioTrack(),
          { direction: audio === 'both' ? 'sendrecv' : 'sendonly' });
        if (red) redFirst(t);
      }
      for (let i = 0; i < slots; i++) {
        const t = pc.addTransceiver('audio', { direction: 'recvonly' });
        if (red) redFirst(t);
      }
      for (let i = 0; i < video; i++) pc.addTransceiver('video', { direction: 'recvonly' });
      const { sdp } = await describe({}, nack);
      return { sdp, mids: pc.getTransceivers().map((t) => [t.mid, t.direction]) };
    },
    async answer({ sdp }) {
      await pc.setRemoteDescription({ type: 'answer', sdp });
      return {};
    },
    async restart() {
      return describe({ iceRestart: true }, this.nack);
    },
    async stats() {
      const all = [...(await pc.getStats()).values()];
      const of = (kind) => all.filter((s) => s.type === 'inbound-rtp' && (s.kind ?? s.mediaType) === kind);
      // Old libwebrtc keeps some of it in the track's statistics.
      const tracks = all.filter((s) => s.type === 'track' && s.remoteSource);
      const audio = of('audio').map((s) => ({ ...tracks.find((t) => t.id === s.trackId), ...s }));
      const pair = all.find((s) => s.type === 'candidate-pair' && s.nominated && s.state === 'succeeded');
      const sent = all.filter((s) => s.type === 'outbound-rtp');
      const codecs = Object.fromEntries(all.filter((s) => s.type === 'codec').map((s) => [s.id, s.mimeType]));
      return {
        audio, video: of('video'), sent, pair, codecs, state: pc.connectionState, ms: host.now(),
      };
    },
    async gaps() {
      const got = { frames: frames.count, gaps: frames.gaps };
      frames.count = 0;
      frames.gaps = [];
      return got;
    },
    async close() {
      pc?.close();
      return {};
    },
  };
}

/** libwebrtc as a Node module: audio only; the tone wanders, as speech does. */
async function wrtcClient() {
  const { default: wrtc } = await import('@roamhq/wrtc');
  const RATE = 48000;
  const BLOCK = RATE / 100;
  const { RTCAudioSource, RTCAudioSink } = wrtc.nonstandard;
  const sinks = [];

  return makeClient({
    RTCPeerConnection: wrtc.RTCPeerConnection,
    now: () => performance.now(),
    async audioTrack() {
      const source = new RTCAudioSource();
      const start = performance.now();
      let blocks = 0;
      let phase = 0;
      setInterval(() => {
        while (blocks * 10 < performance.now() - start) {
          const samples = new Int16Array(BLOCK);
          const hz = 300 + 200 * Math.sin(blocks / 37);
          const loud = 6000 * (1 + Math.sin(blocks / 11));
          for (let i = 0; i < BLOCK; i++) {
            phase += 2 * Math.PI * hz / RATE;
            samples[i] = loud * Math.sin(phase);
          }
          source.onData({ samples, sampleRate: RATE, bitsPerSample: 16, channelCount: 1, numberOfFrames: BLOCK });
          blocks++;
        }
      }, 5);
      return source.createTrack();
    },
    watch(track) { // somebody must listen, else nothing is decoded
      if (track.kind === 'audio') {
        const sink = new RTCAudioSink(track);
        sink.ondata = () => {};
        sinks.push(sink);
      }
    },
  });
}

/** A page of headless Chromium: audio and video, frames watched one by one. */
async function chromiumClient() {
  const { chromium } = await import('playwright-core');
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: FLAGS,
  });
  const page = await (await browser.newContext()).newPage();

  await page.setContent('<!doctype html><body></body>');
  await page.evaluate((text) => {
    const make = (0, eval)(`(${text})`);
    globalThis.client = make({
      RTCPeerConnection,
      now: () => performance.now(),
      capabilities: () => RTCRtpReceiver.getCapabilities('audio').codecs,
      async audioTrack() {
        const context = new AudioContext();
        const tone = new OscillatorNode(context, { frequency: 440 });
        const wander = new OscillatorNode(context, { frequency: 0.7 });
        const depth = new GainNode(context, { gain: 150 });
        const out = new MediaStreamAudioDestinationNode(context);
        wander.connect(depth).connect(tone.frequency);
        tone.connect(out);
        tone.start();
        wander.start();
        return out.stream.getAudioTracks()[0];
      },
      watch(track, frames) {
        const element = document.createElement(track.kind);
        element.autoplay = true;
        element.srcObject = new MediaStream([track]);
        document.body.append(element);
        element.play().catch(() => {});
        if (track.kind !== 'video') return;
        const reader = new MediaStreamTrackProcessor({ track }).readable.getReader();
        (async () => {
          for (;;) {
            const { value, done } = await reader.read();
            if (done) return;
            const now = performance.now();
            if (frames.last) frames.gaps.push([now - frames.last, now, value.codedWidth]);
            frames.last = now;
            frames.count++;
            value.close();
          }
        })();
      },
    });
  }, makeClient.toString());
  const call = (name) => (argument) => page.evaluate(([n, a]) => globalThis.client[n](a), [name, argument]);
  return Object.fromEntries(['offer', 'answer', 'restart', 'stats', 'gaps', 'close'].map((n) => [n, call(n)]));
}

const client = process.argv[2] === 'chromium' ? await chromiumClient() : await wrtcClient();
console.log(JSON.stringify({ ready: true }));
for await (const line of createInterface({ input: process.stdin })) {
  const { do: what, ...argument } = JSON.parse(line);
  try {
    console.log(JSON.stringify(await client[what](argument) ?? {}));
  } catch (error) {
    console.log(JSON.stringify({ error: error.stack ?? String(error) }));
  }
}
process.exit(0);

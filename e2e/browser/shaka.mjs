/** A player that is not ours: Shaka Player plays the same manifest, over HTTP/3, and is heard. */

import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { AUDIBLE_RMS, attachTap, deafen, heard } from './tap.mjs';
import { check, installed, logIn, openPage, run, trackRow, until } from './world.mjs';

const PAGE = `<!doctype html><meta charset="utf-8"><title>Shaka Player</title>
<audio id="audio"></audio><script src="/shaka.js"></script>`;

await run(async (browser, world) => {
  const { page } = await openPage(browser);
  const grant = await entitled(page, world);
  const server = await serve();
  try {
    return await play(page, `http://localhost:${server.address().port}/`, grant, world);
  } finally {
    server.close();
  }
});

/** What the control plane grants when our own page asks: noted as it passes, so this test knows no second login. */
async function entitled(page, world) {
  const answer = page.waitForResponse((reply) => reply.url().endsWith('/api/v1/stream/play'));
  await logIn(page, world);
  await (await trackRow(page, world)).click();
  return (await answer).json();
}

async function play(page, url, grant, world) {
  await page.goto(url);
  await attachTap(page, '#audio');
  await page.evaluate(watchProtocols, world.edgeUrl);
  await page.evaluate(startShaka, grant.manifest_url);
  const position = await until('Shaka plays', () => position_(page, 1));
  const opening = await until('Shaka is heard', () => audible(page));

  const target = Math.floor(grant.duration * 0.8);
  await page.locator('#audio').evaluate((audio, secs) => void (audio.currentTime = secs), target);
  await deafen(page);
  await until('Shaka plays after a seek', () => position_(page, target + 0.5));
  const seeked = await until('Shaka is heard after a seek', () => audible(page));

  const facts = await page.evaluate(() => ({ version: shaka.Player.version, protocols: window.protocols, failures: window.failures }));
  const wanted = world.protocol ?? 'h3';
  check(facts.failures.length === 0, `Shaka reported ${facts.failures.join(', ')}`);
  check(Object.keys(facts.protocols).join() === wanted, `media travelled by ${JSON.stringify(facts.protocols)}, not ${wanted}`);
  return { ...facts, position, rms: opening.loudest, rmsAfterSeek: seeked.loudest };
}

/** In the page: counts media requests by protocol. */
function watchProtocols(edgeUrl) {
  window.protocols = {};
  new PerformanceObserver((entries) => {
    for (const entry of entries.getEntries()) {
      if (!entry.name.startsWith(edgeUrl)) continue;
      window.protocols[entry.nextHopProtocol] = (window.protocols[entry.nextHopProtocol] ?? 0) + 1;
    }
  }).observe({ type: 'resource' });
}

/** In the page: no configuration at all, because the manifest has to say everything (its `Laurl` carries the session). */
async function startShaka(manifestUrl) {
  window.failures = [];
  shaka.polyfill.installAll();
  const audio = document.querySelector('#audio');
  const player = new shaka.Player();
  player.addEventListener('error', ({ detail }) => window.failures.push(`code ${detail.code}`));
  await player.attach(audio);
  await player.load(manifestUrl);
  await audio.play();
}

function position_(page, secs) {
  return page.locator('#audio').evaluate((audio, least) => audio.currentTime >= least && audio.currentTime, secs);
}

async function audible(page) {
  const ears = await heard(page);
  return ears.loudest > AUDIBLE_RMS && ears;
}

/** The page and the library, on a port of its own: localhost is a secure context, which EME needs. */
async function serve() {
  const directory = path.dirname(installed().resolve('shaka-player/package.json'));
  const library = fs.readFileSync(path.join(directory, 'dist/shaka-player.compiled.js'));
  const server = http.createServer((request, reply) => {
    const isLibrary = request.url === '/shaka.js';
    reply.writeHead(200, { 'Content-Type': isLibrary ? 'text/javascript' : 'text/html' });
    reply.end(isLibrary ? library : PAGE);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

/** An evening on which things go wrong: a busy edge, an edge that is gone, a token that ran out, an impatient listener. */

import { check, logIn, openPage, run, stats, until } from './world.mjs';

const MEDIA = /\/a\/c\/.*\.mp4/;
const CONFIG = '**/player/config.json';
const PLAY = '**/api/v1/stream/play';

await run(async (browser, world) => {
  const { page, complaints } = await openPage(browser);
  await missingControlPlaneIsAskedAgain(page, world);
  await logIn(page, { ...world, listener: 'free' });
  const facts = {
    plan: await planIsKept(page),
    busy: await busyEdgeIsAskedAgain(page),
    gone: await missingEdgeIsNamed(page, world),
    full: await fullBufferIsLivedWith(page),
    expired: await expiredTokenIsRenewed(page),
    impatient: await lastClickWins(page),
    ended: await endIsReported(page),
  };
  check(complaints.length === 0, complaints.join('; '));
  return facts;
});

async function missingControlPlaneIsAskedAgain(page, world) {
  await page.route(CONFIG, (route) => route.abort('connectionrefused'));
  await page.goto(world.pageUrl);
  const retry = page.locator('#alert-retry');
  await until('the page says that nobody answers', () => retry.isVisible());
  await page.unroute(CONFIG);
  await retry.click();
  await until('the listeners are there', () => page.locator('#listeners button').count());
  check(!(await retry.isVisible()), 'the alarm stays although there was an answer');
}

/** A free listener who wishes for more gets 128 kbit/s, and the page says both. */
async function planIsKept(page) {
  await page.selectOption('#quality', 'premium');
  await choose(page, 0);
  const now = await plays(page, 1);
  check(now.kbps === 128, `a free listener got ${now.kbps} kbit/s`);
  await until('the page shows both', () => page.locator('#fact-bitrate', { hasText: '128 kbit/s (asked for 320)' }).count());
  return now.kbps;
}

async function busyEdgeIsAskedAgain(page) {
  let refusals = 0;
  await page.route(MEDIA, (route) => {
    refusals += 1;
    return refusals <= 2 ? route.fulfill(edgeSays(503)) : route.continue();
  });
  await choose(page, 0);
  await plays(page, 0.5);
  await page.unroute(MEDIA);
  check(refusals > 2, 'the edge was never busy');
  return refusals;
}

/** A browser tells a page nothing about a certificate it refused; the page names the edge and offers both ways out. */
async function missingEdgeIsNamed(page, world) {
  await page.route(MEDIA, (route) => route.abort('connectionrefused'));
  await choose(page, 0);
  const link = page.locator('#alert-link:visible');
  await until('the page names the edge', () => link.count());
  const href = await link.getAttribute('href');
  check(href !== null && new URL(href).origin === new URL(world.edgeUrl).origin, `the link leads to ${href}`);
  await page.unroute(MEDIA);
  await page.locator('#alert-retry').click();
  await plays(page, 0.5);
  check((await page.locator('#alert:visible').count()) === 0, 'the alarm stays although it plays');
  return href;
}

/** A browser with room for few seconds, from here on: the player forgets what was heard and plays on without a gap. */
async function fullBufferIsLivedWith(page) {
  await page.evaluate((most) => {
    const append = SourceBuffer.prototype.appendBuffer;
    window.refusals = 0;
    SourceBuffer.prototype.appendBuffer = function (bytes) {
      const { buffered } = this;
      const held = Array.from({ length: buffered.length }, (_, at) => buffered.end(at) - buffered.start(at));
      if (held.reduce((sum, secs) => sum + secs, 0) > most) {
        window.refusals += 1;
        throw new DOMException('no room', 'QuotaExceededError');
      }
      append.call(this, bytes);
    };
  }, 10);
  await choose(page, 0);
  await plays(page, 0.5);
  await page.locator('#audio').evaluate((audio) => void (audio.playbackRate = 4));
  const now = await plays(page, 20);
  await page.locator('#seek').evaluate(slideTo, now.duration - 8);
  await plays(page, now.duration - 6);
  await page.locator('#audio').evaluate((audio) => void (audio.playbackRate = 1));
  const refusals = await page.evaluate(() => window.refusals);
  check(refusals > 0, 'the buffer was never full');
  check(now.interruptions === 0, `${now.interruptions} interruptions`);
  return refusals;
}

/** The token runs out unnoticed; the seek that finds out goes on where it wanted to. Nothing there is buffered: see above. */
async function expiredTokenIsRenewed(page) {
  await choose(page, 0);
  const before = await plays(page, 0.5);
  const target = Math.floor(before.duration * 0.6);
  let refused = 0;
  await page.route(MEDIA, (route) => {
    refused += 1;
    return refused === 1 ? route.fulfill(edgeSays(403, { 'Edge-Token-Error': 'expired' })) : route.continue();
  });
  const renewal = page.waitForRequest(PLAY);
  await page.locator('#seek').evaluate(slideTo, target);
  await renewal;
  const now = await plays(page, target + 0.5);
  check(now.position < target + 5, `went on at ${now.position} instead of ${target}`);
  await page.unroute(MEDIA);
  return now.position;
}

/** Five clicks in a row: the last one plays, and nothing of the others goes on. */
async function lastClickWins(page) {
  const rows = page.locator('#tracks button');
  const count = await rows.count();
  const clicks = [0, 1, 0, 1, 0].map((place) => place % count);
  for (const place of clicks) await rows.nth(place).click();
  const title = await rows.nth(clicks[clicks.length - 1]).locator('.title').textContent();
  const now = await plays(page, 1);
  check(now.track === title, `${now.track} plays instead of ${title}`);
  return now.track;
}

/** At the end the session is reported with what was really heard, and the next track begins. */
async function endIsReported(page) {
  const { duration, track } = await stats(page);
  const report = page.waitForRequest((request) => request.url().endsWith('/progress') && request.postDataJSON().position > duration - 1);
  await page.locator('#seek').evaluate(slideTo, duration - 2);
  const told = (await report).postDataJSON();
  check(told.duration_played > 1 && told.duration_played < duration / 2, `reported ${told.duration_played} s heard`);
  const next = page.locator('#tracks button').nth(1);
  if ((await next.count()) > 0) await until('the next track begins', async () => (await stats(page)).track !== track);
  return told.duration_played;
}

function choose(page, place) {
  return page.locator('#tracks button').nth(place).click();
}

function plays(page, secs) {
  return until(`it plays past ${secs} s`, async () => {
    const now = await stats(page);
    return now.position >= secs && !now.paused && now.startMs !== null && now;
  });
}

function slideTo(slider, secs) {
  slider.value = String(secs);
  slider.dispatchEvent(new Event('input', { bubbles: true }));
  slider.dispatchEvent(new Event('change', { bubbles: true }));
}

function edgeSays(status, headers = {}) {
  return { status, headers: { 'Access-Control-Allow-Origin': '*', 'Access-Control-Expose-Headers': 'Edge-Token-Error', ...headers } };
}

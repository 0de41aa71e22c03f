/** A listener's evening: log in, play, hear it, seek far ahead, pause, change the quality. All media over HTTP/3. */

import path from 'node:path';
import { AUDIBLE_RMS, allowTap, attachTap, deafen, heard } from './tap.mjs';
import { check, logIn, openPage, run, stats, trackRow, until } from './world.mjs';

await run(async (browser, world) => {
  const { page, complaints } = await openPage(browser);
  await allowTap(page);
  await picture(page, world, 'welcome', () => page.goto(world.pageUrl));
  await logIn(page, world);
  await attachTap(page, '#audio');
  if (world.quality !== undefined) await page.selectOption('#quality', world.quality);

  const unhurried = await slowNetwork(page);
  const row = await trackRow(page, world);
  await deafen(page);
  await row.click();
  await until('the track plays', async () => atLeast(await stats(page), 0.5));
  const opening = await until('something is heard', async () => audible(page));
  const playing = await stats(page);

  const target = Math.floor(playing.duration * 0.8);
  check(target > playing.position + playing.bufferedSecs, `a seek to ${target} s is not far ahead: it is buffered already`);
  await seek(page, target);
  await deafen(page);
  const afterSeek = await until('it plays after the seek', async () => atLeast(await stats(page), target + 0.5));
  const seeked = await until('it is heard after the seek', async () => audible(page));
  await unhurried();

  const back = Math.floor(playing.duration * 0.5);
  await seek(page, back);
  await page.selectOption('#quality', 'low');
  const low = await until('the other quality takes over', async () => {
    const now = await stats(page);
    return now.kbps === 64 && now.position > back + 0.5 && now;
  });
  await screenshots(page, world);

  await page.locator('#toggle').click();
  await until('it pauses', async () => (await stats(page)).paused);
  const stopped = (await stats(page)).position;
  await page.locator('body').press(' ');
  await until('the space bar plays on', async () => atLeast(await stats(page), stopped + 0.2));

  const last = await stats(page);
  const protocol = world.protocol ?? 'h3';
  check(last.protocol === protocol, `media travelled by ${last.protocol}, not ${protocol}`);
  check(Object.keys(last.requests).length === 1, `media travelled by several protocols: ${JSON.stringify(last.requests)}`);
  check(last.interruptions === 0, `${last.interruptions} interruptions`);
  check(complaints.length === 0, complaints.join('; '));
  return {
    track: playing.track,
    kbps: playing.kbps,
    startMs: playing.startMs,
    msToSound: opening.msToSound,
    rms: opening.loudest,
    rmsAfterSeek: seeked.loudest,
    soughtTo: target,
    bufferedBeforeSeek: playing.bufferedSecs,
    positionAfterSeek: afterSeek.position,
    kbpsAfterSwitch: low.kbps,
    protocol: last.protocol,
    requests: last.requests,
    fetchedBytes: last.fetchedBytes,
    cacheStatus: last.cacheStatus,
  };
});

/**
 * A mobile line of 1 Mbit/s: on loopback a short track is all there before a hand could seek.
 * @returns {Promise<() => Promise<void>>} takes the limit away
 */
async function slowNetwork(page) {
  const session = await page.context().newCDPSession(page);
  const limit = (bytesPerSec, latency) =>
    session.send('Network.emulateNetworkConditions', {
      offline: false,
      latency,
      downloadThroughput: bytesPerSec,
      uploadThroughput: bytesPerSec,
    });
  await session.send('Network.enable');
  await limit(1_000_000 / 8, 20);
  return () => limit(-1, 0);
}

/** Through the page's own control, as a hand would. */
function seek(page, secs) {
  return page.locator('#seek').evaluate((slider, value) => {
    slider.value = String(value);
    slider.dispatchEvent(new Event('input', { bubbles: true }));
    slider.dispatchEvent(new Event('change', { bubbles: true }));
  }, secs);
}

function atLeast(now, secs) {
  return now.position >= secs && !now.paused && now;
}

async function audible(page) {
  const ears = await heard(page);
  return ears.loudest > AUDIBLE_RMS && ears;
}

async function screenshots(page, world) {
  await picture(page, world, 'desktop');
  await page.emulateMedia({ colorScheme: 'dark' });
  await picture(page, world, 'desktop-dark');
  await page.setViewportSize({ width: 390, height: 844 });
  await picture(page, world, 'phone-dark');
  await page.emulateMedia({ colorScheme: 'light' });
  await picture(page, world, 'phone');
  // 320 CSS pixels: the smallest phones, and WCAG 1.4.10 (reflow).
  for (const width of [390, 320]) {
    await page.setViewportSize({ width, height: 844 });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    await picture(page, world, `phone-${width}`);
    check(wide <= width, `the page is ${wide} pixels wide on a phone of ${width}`);
  }
}

async function picture(page, world, name, before = async () => undefined) {
  if (world.screenshotDir === undefined) return;
  await before();
  await page.screenshot({ path: path.join(world.screenshotDir, `player-${name}.png`) });
}

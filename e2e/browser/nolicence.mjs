/** Without a licence there are bytes and no music: silent, and never past a second and a half. */

import { setTimeout as pause } from 'node:timers/promises';
import { AUDIBLE_RMS, allowTap, attachTap, heard } from './tap.mjs';
import { check, logIn, openPage, run, stats, trackRow, until } from './world.mjs';

/** Long enough for a player that had a key to be well into the track. */
const LISTEN_MS = 5000;
/** Bytes have to be there for the silence to mean anything. */
const BUFFERED_SECS = 5;
/** Players may jump a gap at the start (Shaka does, by 0.3 s); music would get further. */
const POSITION_MAX_SECS = 1.5;

await run(async (browser, world) => {
  const { page, complaints } = await openPage(browser);
  await allowTap(page);
  /** @type {(answer: object) => Promise<void>} */
  let answer;
  const asked = new Promise((resolve) => {
    void page.route('**/api/v1/drm/license*', (route) => {
      answer = (reply) => route.fulfill(reply);
      resolve(undefined);
    });
  });
  await logIn(page, world);
  await attachTap(page, '#audio');
  await (await trackRow(page, world)).click();
  await asked;
  // The answer is held back: everything else is there, so it is the missing key alone that keeps it silent.
  await until('music is buffered', async () => (await stats(page)).bufferedSecs > BUFFERED_SECS);
  await pause(LISTEN_MS);
  const now = await stats(page);
  const ears = await heard(page);
  check(!now.paused, 'the page does not try to play');
  check(ears.messages > 0, 'nobody listened');
  check(ears.loudest < AUDIBLE_RMS, `heard ${ears.loudest} without a licence`);
  check(now.position < POSITION_MAX_SECS, `played to ${now.position} s without a licence`);

  await answer({ status: 403, contentType: 'application/problem+json', body: '{"detail":"no licence today"}' });
  await until('the page says so', () => page.locator('#alert:visible', { hasText: 'no licence today' }).count());
  check(complaints.length === 0, complaints.join('; '));
  return { position: now.position, rms: ears.loudest, bufferedSecs: now.bufferedSecs };
});

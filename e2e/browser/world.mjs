/**
 * What every browser test begins with: a Chromium that trusts the test's certificate and speaks HTTP/3 to the edge, and
 * one line of JSON at the end.
 *
 * Promises
 * - The process ends within `DEADLINE_MS`, browser included, whatever the page does.
 * - Nothing is downloaded: playwright-core comes from `ANTIPHON_NODE_MODULES`, the browser from the system.
 *
 * Does not know: what is tested.
 */

import { createRequire } from 'node:module';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

/** Longest life of one script. */
export const DEADLINE_MS = 90_000;
/** Longest wait for one thing to come true. */
export const WAIT_MS = 20_000;
const POLL_MS = 50;
const CHROMIUM = '/usr/bin/chromium';

/**
 * @typedef {object} World what the test that started us says
 * @property {string} pageUrl the player's page
 * @property {string} edgeUrl
 * @property {number} edgePort
 * @property {string} spkiHash base64 SHA-256 of the public keys to trust, comma-separated
 * @property {string} [listener] demo listener to be; premium unless said otherwise
 * @property {string} [track] title to play; the longest one unless said otherwise
 * @property {string} [quality] low, normal, high or premium
 * @property {string} [screenshotDir] where pictures of the page go
 * @property {string} [protocol] what media must travel by; h3 unless said otherwise
 */

/**
 * Runs a test: prints `{"ok":true, ..facts}` and exits 0, or `{"ok":false,"error":..}` and exits 1.
 * @param {(browser: any, world: World) => Promise<object>} test
 */
export async function run(test) {
  const world = JSON.parse(process.argv[2] ?? '{}');
  const overdue = setTimeout_(() => finish(1, { ok: false, error: `not done after ${DEADLINE_MS} ms` }), DEADLINE_MS);
  let browser = null;
  try {
    browser = await launch(world);
    const facts = await test(browser, world);
    await browser.close();
    clearTimeout(overdue);
    finish(0, { ok: true, ...facts });
  } catch (error) {
    await browser?.close().catch(() => undefined);
    finish(1, { ok: false, error: String(error?.message ?? error), stack: String(error?.stack ?? '') });
  }
}

/** A package installed by `cargo xtask`, never by this script. */
export function installed() {
  const directory = process.env.ANTIPHON_NODE_MODULES;
  if (!directory) throw new Error('ANTIPHON_NODE_MODULES names no directory of installed packages');
  return createRequire(path.join(path.resolve(directory), 'resolve-from-here.js'));
}

/**
 * A page that reports what must never happen: uncaught errors and violations of the content security policy.
 * @param {any} browser
 * @param {object} options of the context
 * @returns {Promise<{page: any, complaints: string[]}>}
 */
export async function openPage(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1200, height: 800 }, ...options });
  const page = await context.newPage();
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(`uncaught: ${error.message}`));
  page.on('console', (message) => {
    const text = message.text();
    if (text.includes('Content Security Policy')) complaints.push(text);
  });
  return { page, complaints };
}

/**
 * Logs in through the page and waits for the list of tracks.
 * @param {any} page
 * @param {World} world
 */
export async function logIn(page, world) {
  await page.goto(world.pageUrl, { timeout: WAIT_MS });
  const listener = world.listener ?? 'premium';
  await page.getByRole('button', { name: `Listen as ${listener}` }).click({ timeout: WAIT_MS });
  await page.locator('#tracks button').first().waitFor({ timeout: WAIT_MS });
}

/**
 * The row of the track to play.
 * @param {any} page
 * @param {World} world
 */
export async function trackRow(page, world) {
  if (world.track !== undefined) return page.locator('#tracks button', { hasText: world.track }).first();
  const lengths = await page.locator('#tracks .length').allTextContents();
  const secs = lengths.map((text) => text.split(':').reduce((sum, part) => 60 * sum + Number(part), 0));
  return page.locator('#tracks button').nth(secs.indexOf(Math.max(...secs)));
}

/** @param {any} page the player's page */
export function stats(page) {
  return page.evaluate(() => window.antiphon.stats());
}

/**
 * Waits until `look` gives something true, and returns it.
 * @template T
 * @param {string} what
 * @param {() => Promise<T | null | undefined | false>} look
 * @param {number} [limitMs]
 * @returns {Promise<T>}
 */
export async function until(what, look, limitMs = WAIT_MS) {
  const end = performance.now() + limitMs;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (performance.now() > end) throw new Error(`waited ${limitMs} ms in vain until ${what}`);
    await pause(POLL_MS);
  }
}

/**
 * @param {boolean} truth
 * @param {string} otherwise
 */
export function check(truth, otherwise) {
  if (!truth) throw new Error(otherwise);
}

/** @param {World} world */
async function launch(world) {
  const { chromium } = installed()('playwright-core');
  return chromium.launch({ executablePath: process.env.ANTIPHON_CHROMIUM ?? CHROMIUM, headless: true, args: flags(world) });
}

/** @param {World} world */
function flags(world) {
  const quic =
    (world.protocol ?? 'h3') === 'h3' ? ['--enable-quic', `--origin-to-force-quic-on=localhost:${world.edgePort}`] : ['--disable-quic'];
  return [
    ...quic,
    ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
    `--ignore-certificate-errors-spki-list=${world.spkiHash}`,
    // Chromium asks for ::1 first and takes a silent port there for a failed handshake.
    '--host-resolver-rules=MAP localhost 127.0.0.1',
    '--autoplay-policy=no-user-gesture-required',
    // The tap hands the page over without an address (see tap.mjs), and Chromium then guards loopback from it.
    '--disable-features=LocalNetworkAccessChecks',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-dev-shm-usage',
  ];
}

/**
 * @param {number} code
 * @param {object} result
 */
function finish(code, result) {
  process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(code));
}

const setTimeout_ = globalThis.setTimeout;

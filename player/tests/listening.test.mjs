import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BACKOFF_FIRST_MS, BACKOFF_LONGEST_MS, Failure, failureOf, waitMs } from '../failure.js';
import { gainFor, TARGET_LUFS, volumeFor } from '../loudness.js';
import { HeardSecs } from '../progress.js';

test('seconds count as they are played', () => {
  const heard = new HeardSecs();
  for (const position of [0, 0.25, 0.5, 1.5]) heard.played(position);
  assert.equal(heard.total, 1.5);
});

test('skipped seconds do not count, in either direction', () => {
  const heard = new HeardSecs();
  heard.played(10);
  heard.played(11);
  heard.jumped();
  heard.played(80);
  heard.played(81);
  heard.played(20);
  heard.played(60);
  assert.equal(heard.total, 2);
});

test('loud tracks are brought down to the target, quiet ones stay', () => {
  assert.equal(gainFor({ integrated_lufs: TARGET_LUFS + 20 }), 0.1);
  assert.equal(gainFor({ integrated_lufs: TARGET_LUFS }), 1);
  assert.equal(gainFor({ integrated_lufs: TARGET_LUFS - 10 }), 1);
  assert.equal(gainFor(null), 1);
});

test('the volume control goes from silence to everything', () => {
  assert.equal(volumeFor(0), 0);
  assert.equal(volumeFor(50), 0.25);
  assert.equal(volumeFor(100), 1);
  assert.equal(volumeFor(1000), 1);
});

test('waits double, jittered, and end somewhere', () => {
  const lost = new Failure('unreachable', 'test');
  assert.equal(waitMs(1, lost, 0.5), BACKOFF_FIRST_MS);
  assert.equal(waitMs(3, lost, 0.5), 4 * BACKOFF_FIRST_MS);
  assert.ok(waitMs(1, lost, 0) < waitMs(1, lost, 0.99));
  assert.equal(waitMs(30, lost, 0.5), BACKOFF_LONGEST_MS);
});

test('a server may ask for a longer wait, up to a point', () => {
  const after = (/** @type {string} */ text) => failureOf('test', new Response(null, { status: 503, headers: { 'Retry-After': text } }));
  assert.equal(waitMs(1, after('3'), 0.5), 3000);
  assert.equal(waitMs(1, after('86400'), 0.5), BACKOFF_LONGEST_MS);
  assert.equal(waitMs(1, after('Wed, 21 Oct 2026 07:28:00 GMT'), 0.5), BACKOFF_FIRST_MS);
});

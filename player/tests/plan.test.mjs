import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bufferedEnd, HURRY_SECS, nextStep, STRIDE_SECS, switchPoint } from '../plan.js';

/** A hundred seconds in fragments of two. */
const FRAGMENTS = Array.from({ length: 50 }, (_, place) => ({
  start: 2 * place,
  end: 2 * place + 2,
  first: 1000 + 500 * place,
  last: 1499 + 500 * place,
}));
const plan = (/** @type {[number, number][]} */ stretches, /** @type {number} */ position, goal = 30) =>
  nextStep(FRAGMENTS, stretches.map(([start, end]) => ({ start, end })), position, goal, 100);

test('the first fragment travels alone', () => {
  assert.deepEqual(plan([], 0), { from: 0, to: 0, first: 1000, last: 1499 });
});

test('a seek fetches the fragment the listener is in', () => {
  assert.deepEqual(plan([[0, 20]], 81), { from: 40, to: 40, first: 21000, last: 21499 });
});

test('once out of a hurry, fragments travel together', () => {
  const step = plan([[0, HURRY_SECS]], 0);
  assert.deepEqual(step, { from: 2, to: 6, first: 2000, last: 4499 });
  assert.equal(FRAGMENTS[6].end, HURRY_SECS + STRIDE_SECS);
});

test('nothing beyond the goal is planned', () => {
  assert.deepEqual(plan([[0, 28]], 0), { from: 14, to: 14, first: 8000, last: 8499 });
  assert.equal(plan([[0, 30]], 0), 'enough');
});

test('the last fragment completes the track', () => {
  assert.deepEqual(plan([[60, 98]], 95), { from: 49, to: 49, first: 25500, last: 25999 });
  assert.equal(plan([[60, 100]], 95), 'complete');
  assert.equal(plan([[60, 99.999]], 99.9), 'complete');
});

test('fragments that only hold padding are not asked for', () => {
  const step = nextStep(FRAGMENTS, [{ start: 80, end: 94 }], 80, 30, 96);
  assert.deepEqual(step, { from: 47, to: 47, first: 24500, last: 24999 });
});

test('a rounding error in what is buffered plans no fragment twice', () => {
  assert.equal(/** @type {any} */ (plan([[0, 1.99999]], 0)).from, 1);
});

test('what is buffered elsewhere does not count', () => {
  assert.equal(bufferedEnd([{ start: 10, end: 20 }], 5), 5);
  assert.equal(bufferedEnd([{ start: 10, end: 20 }], 20.5), 20.5);
});

test('stretches that touch are one', () => {
  assert.equal(bufferedEnd([{ start: 0, end: 10 }, { start: 10.001, end: 20 }], 5), 20);
  assert.equal(bufferedEnd([{ start: 0, end: 10 }, { start: 10.5, end: 20 }], 5), 10);
});

test('another rendition takes over at a fragment that can be fetched in time', () => {
  assert.equal(switchPoint(FRAGMENTS, 0), HURRY_SECS);
  assert.equal(switchPoint(FRAGMENTS, 0.5), HURRY_SECS + 2);
  assert.equal(switchPoint(FRAGMENTS, 97), Infinity);
});

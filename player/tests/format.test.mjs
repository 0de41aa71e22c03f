import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as format from '../format.js';

test('a clock shows hours only where there are some', () => {
  assert.equal(format.clock(0), '0:00');
  assert.equal(format.clock(59.99), '0:59');
  assert.equal(format.clock(187), '3:07');
  assert.equal(format.clock(3723), '1:02:03');
});

test('an unknown time is no number', () => {
  for (const secs of [NaN, Infinity, -1]) assert.equal(format.clock(secs), '-:--');
  assert.equal(format.spokenClock(NaN), 'unknown');
});

test('a spoken clock leaves out what is nothing, and counts one as one', () => {
  assert.equal(format.spokenClock(0), '0 seconds');
  assert.equal(format.spokenClock(61), '1 minute 1 second');
  assert.equal(format.spokenClock(7200), '2 hours');
});

test('protocols have the names people know', () => {
  assert.equal(format.protocol('h3'), 'HTTP/3');
  assert.equal(format.protocol('h2'), 'HTTP/2');
  assert.equal(format.protocol('quic/99'), 'quic/99');
  assert.equal(format.protocol(''), '–');
  assert.equal(format.protocol(null), '–');
});

test('figures carry their unit', () => {
  assert.equal(format.bitrate(128), '128 kbit/s');
  assert.equal(format.bufferedSecs(29.96), '30.0 s');
  assert.equal(format.milliseconds(142.6), '143 ms');
  assert.equal(format.milliseconds(null), '–');
});

test('the cache nearest to the listener says how it had the bytes', () => {
  assert.equal(format.cacheStatus('antiphon; hit; detail=ram'), 'hit (ram)');
  assert.equal(format.cacheStatus('antiphon; fwd=miss; stored'), 'miss');
  assert.equal(format.cacheStatus('shield; hit, antiphon; fwd=stale; detail="ssd"'), 'stale ("ssd")');
  for (const header of [null, '', 'antiphon', '=;,']) assert.equal(format.cacheStatus(header), '–', String(header));
});

import { expect, test } from 'vitest';
import { kindOf, readRetryAfter } from './client.ts';

test('each status is one kind of failure', () => {
  expect([400, 401, 403, 404, 422, 429, 500, 502, 503, 504].map(kindOf)).toEqual([
    'rejected',
    'unauthorized',
    'forbidden',
    'not_found',
    'rejected',
    'too_many',
    'server',
    'server',
    'unavailable',
    'server',
  ]);
});

test('Retry-After is seconds or a date', () => {
  const now = Date.parse('2026-11-24T12:00:00Z');
  expect(readRetryAfter('12', now)).toBe(12);
  expect(readRetryAfter('Tue, 24 Nov 2026 12:00:30 GMT', now)).toBe(30);
  expect(readRetryAfter('Tue, 24 Nov 2026 11:00:00 GMT', now)).toBe(0);
  expect(readRetryAfter('soon', now)).toBeNull();
  expect(readRetryAfter(null, now)).toBeNull();
});

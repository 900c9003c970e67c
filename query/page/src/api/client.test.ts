import { afterEach, expect, test, vi } from 'vitest';
import { kindOf, readRetryAfter, revalidate } from './client.ts';

afterEach(() => vi.unstubAllGlobals());

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

test('an unchanged answer says how far everything is counted, by the clock of the service', async () => {
  const asked: RequestInit[] = [];
  const headers = { 'Counted-Through': '2026-11-05T12:00:00.5Z', Date: 'Thu, 05 Nov 2026 12:00:02 GMT' };
  vi.stubGlobal('fetch', async (_: string, init: RequestInit) => {
    asked.push(init);
    return new Response(null, { status: 304, headers });
  });
  const { signal } = new AbortController();
  expect(await revalidate('/v1/usage/dashboard', { signal, etag: '"a.b"', since: 'x' })).toEqual({
    freshness: { counted_through: '2026-11-05T12:00:00.5Z', lag_seconds: 1.5 },
    at: Date.parse('2026-11-05T12:00:02Z'),
  });
  expect(asked[0]!.headers).toMatchObject({ 'If-None-Match': '"a.b"', 'Last-Event-ID': 'x' });
});

test('where nothing is known of what is counted, an unchanged answer says so', async () => {
  vi.stubGlobal('fetch', async () => new Response(null, { status: 304 }));
  const { signal } = new AbortController();
  expect(await revalidate('/v1/usage/dashboard', { signal, etag: '"a.b"' })).toEqual({
    freshness: { counted_through: null, lag_seconds: null },
    at: null,
  });
});

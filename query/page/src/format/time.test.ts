import { describe, expect, test } from 'vitest';
import {
  axisLabel,
  barLabel,
  civilDate,
  civilSpan,
  clockSpan,
  instantSpan,
  rangeLabel,
  repeats,
} from './time.ts';

const copenhagen = 'Europe/Copenhagen';

test('dates are those on the wall of the workspace, not of the browser', () => {
  expect(civilDate('2026-11-23T23:30:00Z', copenhagen)).toBe('2026-11-24');
  expect(civilDate('2026-11-23T18:20:00Z', 'Asia/Kathmandu')).toBe('2026-11-24');
  expect(civilDate('2026-11-23T23:30:00Z', 'America/New_York')).toBe('2026-11-23');
});

test('a span names its years once where it can', () => {
  expect(civilSpan('2026-11-01', '2026-11-24')).toBe('1 Nov – 24 Nov 2026');
  expect(civilSpan('2025-12-28', '2026-01-03')).toBe('28 Dec 2025 – 3 Jan 2026');
  expect(civilSpan('2026-11-24', '2026-11-24')).toBe('24 Nov 2026');
});

test('a range of instants is called by its times unless it is made of whole days', () => {
  const range = { preset: null, from: null, to: null, timezone: copenhagen, grain: 'hour' } as const;
  expect(rangeLabel({ ...range, start: '2026-11-11T23:00:00Z', end: '2026-11-13T23:00:00Z' })).toBe(
    '12 Nov – 13 Nov 2026',
  );
  expect(rangeLabel({ ...range, start: '2026-11-12T02:00:00Z', end: '2026-11-12T04:00:00Z' })).toBe(
    '12 Nov, 03:00–05:00',
  );
  expect(clockSpan('2026-11-12T21:00:00Z', '2026-11-13T01:00:00Z', copenhagen)).toBe(
    '12 Nov, 22:00 – 13 Nov, 02:00',
  );
});

describe('where the clock goes back', () => {
  // 25 October 2026, 03:00 CEST is 02:00 CET again.
  const first = '2026-10-25T00:00:00Z';
  const second = '2026-10-25T01:00:00Z';

  test('the hour that comes twice carries its zone', () => {
    expect(repeats(first, copenhagen)).toBe(true);
    expect(repeats(second, copenhagen)).toBe(true);
    expect(repeats('2026-10-25T03:00:00Z', copenhagen)).toBe(false);
    expect(axisLabel(first, 'hour', copenhagen)).not.toBe(axisLabel(second, 'hour', copenhagen));
    expect(axisLabel(first, 'hour', copenhagen)).toMatch(/^02:00 \S+/);
  });

  test('the two bars have different names', () => {
    const names = [first, second].map(start =>
      barLabel(start, new Date(Date.parse(start) + 3_600_000).toISOString(), 'hour', copenhagen),
    );
    expect(new Set(names).size).toBe(2);
  });
});

test('bars are named in full', () => {
  expect(barLabel('2026-11-11T23:00:00Z', '2026-11-12T23:00:00Z', 'day', copenhagen)).toBe('Thu 12 Nov 2026');
  expect(barLabel('2026-11-12T22:00:00Z', '2026-11-12T23:00:00Z', 'hour', copenhagen)).toBe(
    'Thu 12 Nov, 23:00–24:00',
  );
  expect(barLabel('2026-11-08T23:00:00Z', '2026-11-15T23:00:00Z', 'week', copenhagen)).toBe(
    '9 Nov – 15 Nov 2026',
  );
  expect(instantSpan('2026-10-31T23:00:00Z', '2026-11-30T23:00:00Z', copenhagen)).toBe('1 Nov – 30 Nov 2026');
});

test('midnight on an hourly axis is the date', () => {
  expect(axisLabel('2026-11-11T23:00:00Z', 'hour', copenhagen)).toBe('12 Nov');
  expect(axisLabel('2026-11-12T11:00:00Z', 'hour', copenhagen)).toBe('12:00');
  expect(axisLabel('2026-11-12T00:15:00Z', 'hour', 'Asia/Kathmandu')).toBe('06:00');
});

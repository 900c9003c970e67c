import { expect, test } from 'vitest';
import type { UsageRange } from '../api/types.ts';
import { neighbour, type Today } from './neighbour.ts';
import type { RangeChoice } from './view.ts';

const at: Today = { now: Date.parse('2026-11-24T12:00:00Z'), today: '2026-11-24', anchorDay: 15 };
const resolved = (from: string, to: string): UsageRange => ({
  preset: null,
  from,
  to,
  start: `${from}T00:00:00Z`,
  end: `${to}T23:59:00Z`,
  timezone: 'UTC',
  grain: 'day',
});
const preset = (name: string) => ({ kind: 'preset', preset: name }) as RangeChoice;
const dates = (from: string, to: string): RangeChoice => ({ kind: 'dates', from, to });

test('presets stay presets where one says the same', () => {
  const period = resolved('2026-11-15', '2026-12-14');
  expect(neighbour(preset('period'), period, -1, at)).toEqual(preset('previous_period'));
  expect(neighbour(preset('previous_period'), period, 1, at)).toEqual(preset('period'));
  expect(neighbour(preset('today'), period, -1, at)).toEqual(preset('yesterday'));
  expect(neighbour(preset('yesterday'), period, 1, at)).toEqual(preset('today'));
});

test('the period before the previous one follows the anchor', () => {
  const previous = resolved('2026-10-15', '2026-11-14');
  expect(neighbour(preset('previous_period'), previous, -1, at)).toEqual(dates('2026-09-15', '2026-10-14'));
});

test('coming back to today makes a rolling range again', () => {
  const week = resolved('2026-11-18', '2026-11-24');
  const before = neighbour(preset('7d'), week, -1, at);
  expect(before).toEqual(dates('2026-11-11', '2026-11-17'));
  expect(neighbour(before!, week, 1, at)).toEqual(preset('7d'));
});

test('nothing leads into the future', () => {
  expect(neighbour(preset('30d'), resolved('2026-10-26', '2026-11-24'), 1, at)).toBeNull();
  expect(neighbour(preset('period'), resolved('2026-11-15', '2026-12-14'), 1, at)).toBeNull();
  const open: RangeChoice = { kind: 'instants', start: '2026-11-24T11:00:00Z', end: '2026-11-24T13:00:00Z' };
  expect(neighbour(open, resolved('2026-11-24', '2026-11-24'), 1, at)).toBeNull();
});

test('a zoom moves by its own length', () => {
  const zoom: RangeChoice = { kind: 'instants', start: '2026-11-12T10:00:00Z', end: '2026-11-12T12:00:00Z' };
  expect(neighbour(zoom, resolved('2026-11-12', '2026-11-12'), -1, at)).toEqual({
    kind: 'instants',
    start: '2026-11-12T08:00:00Z',
    end: '2026-11-12T10:00:00Z',
  });
});

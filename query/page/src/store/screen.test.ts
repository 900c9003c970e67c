import { describe, expect, test } from 'vitest';
import { agent, bar, dashboard } from '../testing.ts';
import {
  blamesDates,
  emptiness,
  isOpen,
  isStranger,
  lagSeconds,
  missingRuns,
  missingSpans,
  reachesPast,
} from './screen.ts';

describe('emptiness', () => {
  test('is a range without any usage', () => {
    expect(emptiness(dashboard(), null)).toBe('range');
  });

  test('is the agent’s own where others have usage', () => {
    const data = dashboard({ workspace_total: { credits: '12421', messages: '7701' } });
    expect(emptiness(data, 'agt_sales')).toBe('agent');
    expect(emptiness(dashboard(), 'agt_sales')).toBe('range');
  });

  test('is not claimed where something is unknown', () => {
    expect(emptiness(dashboard({ series: [bar(1, null, { state: 'missing' })] }), null)).toBeNull();
  });

  test('is not ended by Playground tests, which are recorded and not counted', () => {
    expect(emptiness(dashboard({ recorded_events: '12', playground_messages: '12' }), null)).toBe('range');
  });

  test('is not claimed where adjustments cancel usage out', () => {
    expect(emptiness(dashboard({ agents: [agent('a', '0')], agents_total: 1 }), null)).toBeNull();
  });

  test('is a stranger’s where nothing was ever heard of the agent, tests included', () => {
    const strangers = new Set(['agt_x']);
    expect(isStranger(dashboard(), 'agt_x', strangers)).toBe(true);
    expect(isStranger(dashboard(), 'agt_y', strangers)).toBe(false);
    expect(isStranger(dashboard(), null, strangers)).toBe(false);
    expect(isStranger(dashboard({ playground_messages: '1' }), 'agt_x', strangers)).toBe(false);
    expect(isStranger(dashboard({ last_usage_at: '2026-01-01T00:00:00Z' }), 'agt_x', strangers)).toBe(false);
  });
});

test('a range is open while time or the pipeline may still change it', () => {
  expect(isOpen(dashboard())).toBe(false);
  for (const state of ['in_progress', 'settling', 'future', 'missing'] as const) {
    expect(isOpen(dashboard({ series: [bar(1, '5'), bar(2, null, { state })] }))).toBe(true);
  }
});

test('freshness matters to ranges that reach past what is counted', () => {
  const withState = (state: 'final' | 'settling' | 'missing' | 'in_progress' | 'future') =>
    reachesPast(dashboard({ series: [bar(1, '5', { state })] }));
  expect(['in_progress', 'future'].map(state => withState(state as 'future'))).toEqual([true, true]);
  expect(['final', 'settling', 'missing'].map(state => withState(state as 'final'))).toEqual([
    false,
    false,
    false,
  ]);
});

test('the lag grows while nothing confirms the figures, and an unknown lag stays unknown', () => {
  const freshness = { counted_through: '2026-11-05T00:00:00Z', lag_seconds: 1.5, snapshot: 's' };
  expect(lagSeconds(freshness, 30_000)).toBe(31.5);
  expect(lagSeconds({ ...freshness, lag_seconds: null }, 30_000)).toBeNull();
});

describe('what is missing', () => {
  const missing = { state: 'missing' } as const;

  test('is named as runs of neighbours', () => {
    const series = [
      bar(1, '1'),
      bar(2, null, missing),
      bar(3, null, missing),
      bar(4, '1'),
      bar(5, null, missing),
    ];
    expect(missingRuns(series)).toEqual([
      { start: series[1]!.start, end: series[2]!.end },
      { start: series[4]!.start, end: series[4]!.end },
    ]);
  });

  test('is named by hours where bars are hours', () => {
    const hour = (h: number) =>
      bar(12, null, { ...missing, start: `2026-11-12T0${h}:00:00Z`, end: `2026-11-12T0${h + 1}:00:00Z` });
    const data = dashboard({ series: [hour(2), hour(3)] });
    data.range.timezone = 'Europe/Copenhagen';
    data.range.grain = 'hour';
    expect(missingSpans(data)).toEqual({ spans: ['12 Nov, 03:00–05:00'], more: 0 });
  });

  test('is what is not counted yet where no bar is missing', () => {
    const behind = (counted_through: string, lag_seconds: number) =>
      missingSpans(
        dashboard({ completeness: 'partial', freshness: { counted_through, lag_seconds, snapshot: 's' } }),
      ).spans;
    expect(behind('2026-11-03T14:26:30Z', 360)).toEqual(['3 Nov, 14:26–14:33']);
    expect(behind('2026-11-04T22:00:00Z', 86_400)).toEqual(['4 Nov, 22:00–24:00']);
    expect(behind('2026-10-31T22:00:00Z', 7_200 + 60)).toEqual(['1 Nov, 00:00–00:01']);
  });

  test('is the whole range where nothing says which part', () => {
    const freshness = { counted_through: null, lag_seconds: null, snapshot: 's' };
    expect(missingSpans(dashboard({ completeness: 'partial', freshness })).spans).toEqual([]);
  });
});

test('only faults of the dates are blamed on the link', () => {
  const failure = (field: string) => ({
    kind: 'rejected' as const,
    status: 400,
    problem: { errors: [{ field, code: 'x', detail: 'x' }] },
    reference: null,
    retryAfter: null,
  });
  expect(blamesDates(failure('from'))).toBe(true);
  expect(blamesDates(failure('query.end'))).toBe(true);
  expect(blamesDates(failure('agent'))).toBe(false);
});

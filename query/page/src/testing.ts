/** Answers for tests: a small range of four days, of which each test changes what it is about. */

import type { AgentUsage, Bar, Dashboard } from './api/types.ts';

export const bar = (day: number, credits: string | null, more: Partial<Bar> = {}): Bar => ({
  start: `2026-11-${String(day).padStart(2, '0')}T00:00:00Z`,
  end: `2026-11-${String(day + 1).padStart(2, '0')}T00:00:00Z`,
  state: 'final',
  credits,
  messages: credits === null ? null : String(Math.floor(Number(credits) / 2)),
  agents: [],
  previous: null,
  ...more,
});

export const agent = (id: string, credits: string, more: Partial<AgentUsage> = {}): AgentUsage => ({
  id,
  name: id.toUpperCase(),
  deleted: false,
  credits,
  messages: '10',
  share: '0.0',
  previous_credits: null,
  previous_messages: null,
  spark: [],
  ...more,
});

export const dashboard = (more: Partial<Dashboard> = {}): Dashboard => ({
  range: {
    preset: 'period',
    from: '2026-11-01',
    to: '2026-11-04',
    start: '2026-11-01T00:00:00Z',
    end: '2026-11-05T00:00:00Z',
    timezone: 'UTC',
    grain: 'day',
  },
  summary: {
    credits: '0',
    messages: '0',
    chatbots: { used: 0, available: null },
    team_members: { used: 0, available: null },
    as_of: '2026-11-05T00:00:00Z',
    previous: null,
  },
  series: [bar(1, '0'), bar(2, '0'), bar(3, '0'), bar(4, '0')],
  agents: [],
  agents_total: 0,
  workspace_total: { credits: '0', messages: '0' },
  insights: { sentence: '', driver: null, rise: null, spikes: [] },
  freshness: { counted_through: '2026-11-05T00:00:00Z', lag_seconds: 1, snapshot: 's' },
  completeness: 'complete',
  playground_messages: '0',
  recorded_events: '0',
  last_usage_at: null,
  ...more,
});

/** A small seeded generator, so that a failure can be repeated. */
export function random(seed: number) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

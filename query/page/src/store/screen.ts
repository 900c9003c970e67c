/** From what is known to what is said: which of its states the page is in. Pure, so that each can be tested. */

import type { Failure } from '../api/client.ts';
import type { Bar, Dashboard, Freshness } from '../api/types.ts';
import { compare, isZero } from '../format/decimal.ts';
import { clockSpan, instantSpan } from '../format/time.ts';

/** What an answer without usage is to be met with; null when there is usage, or when some is unknown. */
export type Emptiness = 'range' | 'agent' | null;

export function emptiness(data: Dashboard, agent: string | null): Emptiness {
  const { summary } = data;
  const nothing =
    isZero(summary.credits) &&
    isZero(summary.messages) &&
    data.agents.length === 0 &&
    !data.series.some(bar => bar.state === 'missing');
  if (!nothing) return null;
  const others =
    compare(data.workspace_total.credits, '0') > 0 || compare(data.workspace_total.messages, '0') > 0;
  return agent !== null && others ? 'agent' : 'range';
}

/** Whether an empty answer is one about an agent that the workspace does not have: no usage ever, nor tests. */
export const isStranger = (data: Dashboard, agent: string | null, strangers: ReadonlySet<string>) =>
  agent !== null && strangers.has(agent) && data.last_usage_at === null && isZero(data.playground_messages);

/** Whether time or the pipeline may still change these figures, so that it is worth asking again. */
export const isOpen = (data: Dashboard) => data.series.some(bar => bar.state !== 'final');

/**
 * Whether the range reaches past what is counted, so that how fresh the data is matters to its figures. Of
 * another range an unchanged answer says nothing about freshness, and nothing needs to be said.
 */
export const reachesPast = (data: Dashboard) =>
  data.series.some(bar => bar.state === 'in_progress' || bar.state === 'future');

/** How far the figures lag behind the clock on the wall, given how long ago they were confirmed. */
export function lagSeconds({ lag_seconds: lag }: Freshness, sinceConfirmedMs: number): number | null {
  return lag === null ? null : Math.max(0, lag + sinceConfirmedMs / 1000);
}

/** Past this the page warns instead of reassuring. */
export const behindAfterSeconds = 120;

/** Runs of neighbouring bars whose figures the pipeline knows it lacks. */
export function missingRuns(series: Bar[]): { start: string; end: string }[] {
  const runs: { start: string; end: string }[] = [];
  let open = false;
  for (const bar of series) {
    const missing = bar.state === 'missing';
    const last = runs.at(-1);
    if (missing && open && last) last.end = bar.end;
    else if (missing) runs.push({ start: bar.start, end: bar.end });
    open = missing;
  }
  return runs;
}

/** From where to where counting is behind, to whole minutes; null where that is not known. */
function uncounted({ range, freshness }: Dashboard): { start: string; end: string } | null {
  const { counted_through: through, lag_seconds: lag } = freshness;
  if (through === null || lag === null) return null;
  const from = Math.max(Date.parse(range.start), Date.parse(through));
  const to = Math.min(Date.parse(range.end), Date.parse(through) + lag * 1000);
  if (from >= to) return null;
  const minutes = (at: number) => new Date(at * 60_000).toISOString();
  return { start: minutes(Math.floor(from / 60_000)), end: minutes(Math.ceil(to / 60_000)) };
}

/** "12 Nov, 03:00–05:00", two runs at most and how many more; none where it is not known which part. */
export function missingSpans(data: Dashboard): { spans: string[]; more: number } {
  const runs = missingRuns(data.series);
  const { timezone, grain } = data.range;
  if (!runs.length) {
    const behind = uncounted(data);
    return { spans: behind ? [clockSpan(behind.start, behind.end, timezone)] : [], more: 0 };
  }
  const name = grain === 'hour' || grain === 'minute' ? clockSpan : instantSpan;
  const spans = runs.slice(0, 2).map(run => name(run.start, run.end, timezone));
  return { spans, more: runs.length - spans.length };
}

/** Faults of the dates asked for, not of the service. */
export function blamesDates(failure: Failure): boolean {
  const names = /^(range|from|to|start|end)$/;
  return (
    failure.kind === 'rejected' &&
    (failure.problem?.errors ?? []).some(error => names.test((error.field ?? '').replace(/^.*[./]/, '')))
  );
}

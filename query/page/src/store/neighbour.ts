import type { CivilDate, UsageRange } from '../api/types.ts';
import { daysIn, shift } from '../format/civil.ts';
import type { RangeChoice } from './view.ts';

export interface Today {
  /** Milliseconds since 1970. */
  now: number;
  /** The date in the workspace's zone. */
  today: CivilDate;
  /** The day of the month on which billing periods begin. */
  anchorDay: number;
}

const preset = (name: 'period' | 'previous_period' | 'today' | 'yesterday' | '7d' | '30d' | '90d') =>
  ({ kind: 'preset', preset: name }) as const;

/**
 * The range before or after the chosen one (`resolved` once the answer is there), null where that would lie in the future. Presets stay presets
 * wherever one says the same, so that the link keeps rolling.
 */
export function neighbour(
  choice: RangeChoice,
  resolved: UsageRange | null,
  direction: -1 | 1,
  { now, today, anchorDay }: Today,
): RangeChoice | null {
  if (choice.kind === 'preset') {
    if (direction < 0 && choice.preset === 'period') return preset('previous_period');
    if (direction < 0 && choice.preset === 'today') return preset('yesterday');
    if (direction > 0 && choice.preset === 'previous_period') return preset('period');
    if (direction > 0 && choice.preset === 'yesterday') return preset('today');
  }
  if (choice.kind === 'instants') {
    const [start, end] = [Date.parse(choice.start), Date.parse(choice.end)];
    if (direction > 0 && end > now) return null;
    const move = (end - start) * direction;
    const text = (at: number) => new Date(at + move).toISOString().replace('.000Z', 'Z');
    return { kind: 'instants', start: text(start), end: text(end) };
  }
  const from = choice.kind === 'dates' ? choice.from : resolved?.from;
  const to = choice.kind === 'dates' ? choice.to : resolved?.to;
  if (!from || !to || (direction > 0 && to >= today)) return null;
  const next = shift(from, to, direction, anchorDay);
  if (next.to === today) {
    const days = daysIn(next.from, next.to);
    if (days === 1) return preset('today');
    if (days === 7 || days === 30 || days === 90) return preset(`${days}d`);
  }
  return { kind: 'dates', ...next };
}

/** A bar in words: one description serves the tooltip, the slider's value text and the table alike. */

import type { Bar, Dashboard } from '../api/types.ts';
import { group, isZero, shares } from '../format/decimal.ts';
import { type Change, change, share } from '../format/number.ts';
import { barLabel, instantSpan, repeats, zoneName } from '../format/time.ts';
import type { Metric } from '../store/view.ts';
import type { Series } from './series.ts';

export interface BarPart {
  series: Series;
  name: string;
  value: string;
  share: string;
}

export interface BarText {
  title: string;
  zone: string;
  /** Grouped, or "—" where it is unknown. */
  value: string;
  unit: string;
  note: string | null;
  parts: BarPart[];
  /** Parts without usage in this bar are left out. */
  previous: { span: string; value: string; change: Change } | null;
}

export const unitOf = (metric: Metric, value: string | null) =>
  value === '1' ? metric.slice(0, -1) : metric;

export function stateNote(bar: Bar): string | null {
  switch (bar.state) {
    case 'in_progress':
      return 'In progress: so far';
    case 'settling':
      return 'May still rise';
    case 'missing':
      return 'No data recorded';
    case 'future':
      return 'Not begun yet';
    default:
      return null;
  }
}

export function describeBar(
  data: Dashboard,
  index: number,
  metric: Metric,
  series: Series[],
  nameOf: (series: Series) => string,
): BarText {
  const bar = data.series[index]!;
  const { timezone, grain } = data.range;
  const value = bar[metric];
  const split = series.filter(one => one.kind !== 'total');
  const parts = split.map(one => one.values[index] ?? '0');
  const portions = shares(parts);
  return {
    title: barLabel(bar.start, bar.end, grain, timezone),
    zone: repeats(bar.start, timezone) ? zoneName(bar.start, timezone) : timezone,
    value: value === null ? '—' : group(value),
    unit: unitOf(metric, value),
    note: stateNote(bar),
    parts: split
      .map((one, i) => ({
        series: one,
        name: nameOf(one),
        value: group(parts[i]!),
        share: share(portions[i]!, !isZero(parts[i]!)),
        empty: isZero(parts[i]!),
      }))
      .filter(part => !part.empty),
    previous: bar.previous && {
      span: instantSpan(bar.previous.start, bar.previous.end, timezone),
      value: bar.previous[metric] === null ? '—' : group(bar.previous[metric]),
      change: change(value, bar.previous[metric]),
    },
  };
}

export function barInWords(text: BarText): string {
  const parts = text.parts.map(part => `${part.name} ${part.value}, ${part.share}`);
  return [
    text.value === '—'
      ? `${text.title}: ${text.note ?? 'unknown'}`
      : `${text.title}: ${text.value} ${text.unit}`,
    text.value !== '—' && text.note,
    parts.length > 0 && parts.join('; '),
    text.previous && `${text.previous.value} before, ${text.previous.change.words}`,
  ]
    .filter(Boolean)
    .join('. ');
}

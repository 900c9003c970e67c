/** A bar in words: one description serves the tooltip, the slider's value text and the table alike. */

import type { Bar, Dashboard } from '../api/types.ts';
import { copy } from '../copy/index.ts';
import { type Change, change } from '../format/change.ts';
import { compare, isZero, shares } from '../format/decimal.ts';
import { group, share } from '../format/number.ts';
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
  /** The one that used most in this bar first, Other last; those without usage in it are left out. */
  parts: BarPart[];
  previous: { span: string; value: string; change: Change } | null;
}

const stateNotes: Partial<Record<Bar['state'], string>> = copy.state;

export const stateNote = (bar: Bar): string | null => stateNotes[bar.state] ?? null;

const isOther = ({ kind }: Series) => Number(kind === 'other');

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
    unit: copy.unit[metric](value),
    note: stateNote(bar),
    parts: split
      .map((one, i) => ({
        series: one,
        name: nameOf(one),
        value: group(parts[i]!),
        share: share(portions[i]!, !isZero(parts[i]!)),
        amount: parts[i]!,
      }))
      .filter(part => !isZero(part.amount))
      .sort((a, b) => isOther(a.series) - isOther(b.series) || compare(b.amount, a.amount)),
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
      ? `${text.title}: ${text.note ?? copy.unknownBar}`
      : `${text.title}: ${text.value} ${text.unit}`,
    text.value !== '—' && text.note,
    parts.length > 0 && parts.join('; '),
    text.previous && copy.previously(text.previous.value, text.previous.change.words),
  ]
    .filter(Boolean)
    .join('. ');
}

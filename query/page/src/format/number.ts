import { compare, divide, group, isZero, parse, percentOf, subtract } from './decimal.ts';

const compact = new Intl.NumberFormat('en-GB', { notation: 'compact', maximumFractionDigits: 1 });

/** For axis ticks alone, which are round numbers. */
export const tickLabel = (value: number) => compact.format(value).replace('-', '−');

/** Pads or cuts the fraction; it does not round. */
export function fixed(value: string, decimals: number): string {
  const [whole, fraction = ''] = value.split('.');
  return decimals ? `${whole}.${fraction.padEnd(decimals, '0').slice(0, decimals)}` : whole!;
}

/** A share as it is read: "62.0%", "<0.1%" for usage that rounds to nothing, "—" where there is no whole. */
export function share(percent: string | null, hasUsage: boolean): string {
  if (percent === null) return '—';
  if (isZero(percent)) return hasUsage ? '<0.1%' : '0%';
  return `${group(fixed(percent, 1))}%`;
}

/** Credits for each answered message, two decimals; "—" without messages. */
export function perMessage(credits: string, messages: string): string {
  const ratio = divide(credits, messages, 2);
  return ratio === null ? '—' : group(fixed(ratio, 2));
}

export interface Change {
  kind: 'up' | 'down' | 'same' | 'new' | 'unknown';
  /** What is shown: "+12.4%", "No change", "New", "—". */
  text: string;
  /** The same in words, for a screen reader. */
  words: string;
}

/** How a figure moved against what it is compared with; null is something that cannot be compared. */
export function change(now: string | null, before: string | null): Change {
  if (now === null || before === null || parse(before).units < 0n) {
    return { kind: 'unknown', text: '—', words: 'cannot be compared' };
  }
  const order = compare(now, before);
  if (order === 0) return { kind: 'same', text: 'No change', words: 'no change' };
  const percent = percentOf(order > 0 ? subtract(now, before) : subtract(before, now), before);
  if (percent === null) return { kind: 'new', text: 'New', words: 'new, nothing before' };
  const size = isZero(percent) ? '<0.1' : group(fixed(percent, compare(percent, '1000') < 0 ? 1 : 0));
  return {
    kind: order > 0 ? 'up' : 'down',
    text: `${order > 0 ? '+' : '−'}${size}%`,
    words: `${order > 0 ? 'up' : 'down'} ${size.replace('<', 'less than ')} percent`,
  };
}

/** Figures as the reader writes them, from exact decimals; nothing here goes through a Number but axis ticks. */

import { divide, isZero, parse, print } from './decimal.ts';
import { reader } from './locale.ts';

const cache = new Map<string, Intl.NumberFormat>();

function formatter(name: string, options: Intl.NumberFormatOptions): Intl.NumberFormat {
  const key = reader().tag + name;
  let found = cache.get(key);
  if (!found) {
    found = new Intl.NumberFormat(reader().tag, options);
    cache.set(key, found);
  }
  return found;
}

/** A minus sign is a minus sign, also where the locale has a hyphen. */
const withMinus = (text: string) => text.replace('-', '−');

/** Intl takes decimals in strings as they are, at any size. */
const say = (format: Intl.NumberFormat, value: string) =>
  withMinus(format.format(value as Intl.StringNumericLiteral));

/** What is beyond the decimals asked for is cut off, not rounded. */
const fixed = (decimals: number) =>
  ({
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals,
    roundingMode: 'trunc',
  }) as const;

/** "12421.5" → "12,421.5", all of its decimals, or exactly so many. */
export function group(value: string | number, decimals?: number): string {
  const options = decimals === undefined ? { maximumFractionDigits: 20 } : fixed(decimals);
  return say(formatter(`n${decimals}`, options), String(value));
}

/** "62" → "62.0%". */
export function percent(value: string, decimals = 1): string {
  const { units, scale } = parse(value);
  const format = formatter(`%${decimals}`, { style: 'percent', ...fixed(decimals) });
  return say(format, print({ units, scale: scale + 2 }));
}

/** For axis ticks alone, which are round numbers; beyond trillions by the power of ten. */
export const tickLabel = (value: number) =>
  withMinus(
    Math.abs(value) < 1e15
      ? formatter('k', { notation: 'compact', maximumFractionDigits: 1 }).format(value)
      : formatter('e', { notation: 'engineering' }).format(value),
  );

/** A share as it is read: "62.0%", "<0.1%" for usage that rounds to nothing, "—" where there is no whole. */
export function share(part: string | null, hasUsage: boolean): string {
  if (part === null) return '—';
  if (isZero(part)) return hasUsage ? `<${percent('0.1')}` : percent('0', 0);
  return percent(part);
}

/** Credits for each answered message, two decimals; "—" without messages. */
export function perMessage(credits: string, messages: string): string {
  const ratio = divide(credits, messages, 2);
  return ratio === null ? '—' : group(ratio, 2);
}

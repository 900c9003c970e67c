import { copy } from '../copy/index.ts';
import { compare, isZero, parse, percentOf, subtract } from './decimal.ts';
import { group, percent } from './number.ts';

export interface Change {
  kind: 'up' | 'down' | 'same' | 'new' | 'unknown';
  /** What is shown: "+12.4%", "No change", "New", "—". */
  text: string;
  /** The same in words, for a screen reader. */
  words: string;
}

/** How a figure moved against what it is compared with; null is something that cannot be compared. */
export function change(now: string | null, before: string | null): Change {
  const plain = (kind: 'same' | 'new' | 'unknown') => ({ kind, ...copy.change[kind] });
  if (now === null || before === null || parse(before).units < 0n) return plain('unknown');
  const order = compare(now, before);
  if (order === 0) return plain('same');
  const moved = percentOf(order > 0 ? subtract(now, before) : subtract(before, now), before);
  if (moved === null) return plain('new');
  const kind = order > 0 ? 'up' : 'down';
  const little = isZero(moved);
  const size = little ? '0.1' : moved;
  const decimals = compare(size, '1000') < 0 ? 1 : 0;
  return {
    kind,
    text: `${order > 0 ? '+' : '−'}${little ? '<' : ''}${percent(size, decimals)}`,
    words: copy.change[kind](group(size, decimals), little),
  };
}

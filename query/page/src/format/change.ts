import { copy } from '../copy/index.ts';
import { compare, isZero, parse, percentOf, subtract, wholePercentOf } from './decimal.ts';
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
  const difference = order > 0 ? subtract(now, before) : subtract(before, now);
  const moved = percentOf(difference, before);
  if (moved === null) return plain('new');
  const kind = order > 0 ? 'up' : 'down';
  const little = isZero(moved);
  const large = compare(moved, '1000') >= 0;
  const size = little ? '0.1' : large ? wholePercentOf(difference, before)! : moved;
  const decimals = large ? 0 : 1;
  return {
    kind,
    text: `${order > 0 ? '+' : '−'}${little ? '<' : ''}${percent(size, decimals)}`,
    words: copy.change[kind](group(size, decimals), little),
  };
}

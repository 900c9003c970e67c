/**
 * Exact decimals. The service sends credits and counts as strings that may exceed what a Number holds,
 * so every figure shown is worked out on BigInt; `toNumber` is for pixels alone.
 */

/** An exact decimal: `units` counted in steps of 10^-scale. */
export interface Exact {
  units: bigint;
  scale: number;
}

const pattern = /^(-?)(\d+)(?:\.(\d+))?$/;

export function parse(text: string): Exact {
  const match = pattern.exec(text);
  if (!match) throw new RangeError(`not a decimal: ${text}`);
  const fraction = match[3] ?? '';
  const units = BigInt(match[2] + fraction);
  return { units: match[1] ? -units : units, scale: fraction.length };
}

const tenTo = (n: number) => 10n ** BigInt(n);

/** Both values counted in the same steps. */
function align(a: Exact, b: Exact): [bigint, bigint, number] {
  const scale = Math.max(a.scale, b.scale);
  return [a.units * tenTo(scale - a.scale), b.units * tenTo(scale - b.scale), scale];
}

/** Without exponent or trailing zeros, as the service writes them. */
export function print({ units, scale }: Exact): string {
  const negative = units < 0n;
  const digits = String(negative ? -units : units).padStart(scale + 1, '0');
  const whole = digits.slice(0, digits.length - scale);
  const fraction = scale ? digits.slice(-scale).replace(/0+$/, '') : '';
  return (negative ? '-' : '') + whole + (fraction && `.${fraction}`);
}

export function sum(values: Iterable<string>): string {
  let total: Exact = { units: 0n, scale: 0 };
  for (const value of values) {
    const [a, b, scale] = align(total, parse(value));
    total = { units: a + b, scale };
  }
  return print(total);
}

export function subtract(a: string, b: string): string {
  const [x, y, scale] = align(parse(a), parse(b));
  return print({ units: x - y, scale });
}

/** Negative, zero or positive, for sorting. */
export function compare(a: string, b: string): number {
  const [x, y] = align(parse(a), parse(b));
  return x < y ? -1 : x > y ? 1 : 0;
}

/**
 * Orders a/b and c/d exactly, as the service does: something over nothing is more than any number, and nothing
 * over nothing less, in the order of the numerators.
 */
export function compareQuotients([a, b]: [string, string], [c, d]: [string, string]): number {
  const rank = (numerator: string, denominator: string) =>
    compare(denominator, '0') > 0 ? 0 : compare(numerator, '0') > 0 ? 1 : -1;
  const [x, y] = [rank(a, b), rank(c, d)];
  if (x !== y) return x - y;
  return x === 0 ? compare(multiply(a, d), multiply(c, b)) : compare(a, c);
}

function multiply(a: string, b: string): string {
  const [x, y] = [parse(a), parse(b)];
  return print({ units: x.units * y.units, scale: x.scale + y.scale });
}

export const isZero = (value: string) => parse(value).units === 0n;

/** a ÷ b with the given number of decimals, halves away from zero; null when b is zero. */
export function divide(a: string, b: string, decimals: number): string | null {
  const [x, y] = align(parse(a), parse(b));
  return y === 0n ? null : print({ units: roundedRatio(x * tenTo(decimals), y), scale: decimals });
}

/** a as percent of b with one decimal; null when b is zero. */
export function percentOf(a: string, b: string): string | null {
  const [x, y] = align(parse(a), parse(b));
  return y === 0n ? null : print({ units: roundedRatio(x * 1000n, y), scale: 1 });
}

/** The same in whole percent. */
export function wholePercentOf(a: string, b: string): string | null {
  const [x, y] = align(parse(a), parse(b));
  return y === 0n ? null : print({ units: roundedRatio(x * 100n, y), scale: 0 });
}

function roundedRatio(numerator: bigint, denominator: bigint): bigint {
  const negative = numerator < 0n !== denominator < 0n;
  const n = numerator < 0n ? -numerator : numerator;
  const d = denominator < 0n ? -denominator : denominator;
  const rounded = (2n * n + d) / (2n * d);
  return negative ? -rounded : rounded;
}

/** For the height of a mark, never for a figure. */
export const toNumber = (value: string | null) => (value === null ? 0 : Number(value));

/**
 * The parts of a whole in tenths of a percent by largest remainder, so that what is shown adds up to
 * 100.0. All zero when the whole is zero; null where parts of both signs make shares meaningless.
 */
export function shares(values: string[]): (string | null)[] {
  const scale = Math.max(0, ...values.map(v => parse(v).scale));
  const units = values.map(v => align(parse(v), { units: 0n, scale })[0]);
  if (units.some(u => u < 0n)) return units.map(() => null);
  const whole = units.reduce((a, b) => a + b, 0n);
  if (whole === 0n) return units.map(() => '0');
  const tenths = units.map(u => (u * 1000n) / whole);
  let left = Number(1000n - tenths.reduce((a, b) => a + b, 0n));
  const byRemainder = units
    .map((u, index) => ({ index, remainder: (u * 1000n) % whole }))
    .sort((a, b) => (a.remainder < b.remainder ? 1 : a.remainder > b.remainder ? -1 : a.index - b.index));
  for (const { index } of byRemainder) {
    if (left-- <= 0) break;
    tenths[index] = tenths[index]! + 1n;
  }
  return tenths.map(t => print({ units: t, scale: 1 }));
}

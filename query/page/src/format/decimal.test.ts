import { describe, expect, test } from 'vitest';
import { random } from '../testing.ts';
import { compare, divide, parse, percentOf, print, shares, subtract, sum } from './decimal.ts';

describe('decimals', () => {
  test('what is parsed prints the same', () => {
    for (const text of [
      '0',
      '1',
      '-1',
      '0.000001',
      '-0.5',
      '12421.5',
      '9007199254740993',
      '123456789012345678901234.000001',
    ]) {
      expect(print(parse(text))).toBe(text);
    }
  });

  test('trailing zeros and minus zero are not printed', () => {
    expect(print(parse('1.500000'))).toBe('1.5');
    expect(print({ units: 0n, scale: 6 })).toBe('0');
  });

  test('what is not a decimal is refused', () => {
    for (const text of ['', '1e3', '.5', '1.', '+1', 'NaN', ' 1', '1,000'])
      expect(() => parse(text)).toThrow(RangeError);
  });

  test('sums stay exact beyond what a Number holds', () => {
    expect(sum(['9007199254740993', '0.000001', '1'])).toBe('9007199254740994.000001');
    expect(sum([])).toBe('0');
    expect(sum(['0.1', '0.2'])).toBe('0.3');
    expect(subtract('9007199254740993', '9007199254740992')).toBe('1');
  });

  test('values of different scales compare by value', () => {
    expect(compare('1.10', '1.1')).toBe(0);
    expect(compare('-2', '1')).toBe(-1);
    expect(compare('9007199254740993', '9007199254740992')).toBe(1);
  });

  test('division rounds halves away from zero and refuses zero', () => {
    expect(divide('1', '3', 2)).toBe('0.33');
    expect(divide('1', '8', 2)).toBe('0.13');
    expect(divide('-1', '8', 2)).toBe('-0.13');
    expect(divide('5', '0', 2)).toBeNull();
    expect(percentOf('7701', '12421')).toBe('62');
  });
});

describe('shares', () => {
  test('add up to exactly 100.0 whatever the parts', () => {
    const seed = 261_127;
    const next = random(seed);
    for (let round = 0; round < 300; round++) {
      const parts = Array.from({ length: 1 + Math.floor(next() * 40) }, () =>
        next() < 0.2 ? '0' : (next() * 10 ** Math.floor(next() * 12)).toFixed(Math.floor(next() * 7)),
      );
      if (parts.every(part => Number(part) === 0)) continue;
      const portions = shares(parts);
      expect(sum(portions.map(portion => portion ?? '0')), `seed ${seed}, parts ${parts}`).toBe('100');
    }
  });

  test('the largest remainder gets what is left, the first of equals before the others', () => {
    expect(shares(['1', '1', '1'])).toEqual(['33.4', '33.3', '33.3']);
    expect(shares(['7701', '4720'])).toEqual(['62', '38']);
  });

  test('nothing has no shares, and parts of both signs have none that mean anything', () => {
    expect(shares(['0', '0'])).toEqual(['0', '0']);
    expect(shares(['5', '-1'])).toEqual([null, null]);
  });
});

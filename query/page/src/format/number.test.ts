import { expect, test } from 'vitest';
import { group, perMessage, share, tickLabel } from './number.ts';

test('a share that rounds to nothing still says that there was something', () => {
  expect(share('62', true)).toBe('62.0%');
  expect(share('0.0', true)).toBe('<0.1%');
  expect(share('0', false)).toBe('0%');
  expect(share(null, true)).toBe('—');
});

test('credits per message has two decimals and no answer without messages', () => {
  expect(perMessage('12421', '7701')).toBe('1.61');
  expect(perMessage('12421', '0')).toBe('—');
  expect(perMessage('12000', '1')).toBe('12,000.00');
});

test('grouping keeps every digit', () => {
  expect(group('0')).toBe('0');
  expect(group('999')).toBe('999');
  expect(group('12421')).toBe('12,421');
  expect(group('1234567.000001')).toBe('1,234,567.000001');
  expect(group('-12421.5')).toBe('−12,421.5');
  expect(group('9007199254740993')).toBe('9,007,199,254,740,993');
});

test('ticks are compact, however large', () => {
  expect([0, 1e12, 5e14, 1e16].map(tickLabel)).toEqual(['0', '1tn', '500tn', '10E15']);
});

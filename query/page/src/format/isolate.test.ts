import { expect, test } from 'vitest';
import { isolated } from './isolate.ts';

test('what runs from left to right stays as it is', () => {
  for (const text of ['Ada', 'Zoë 🦊', '12 Nov', 'エージェント', '']) expect(isolated(text)).toBe(text);
});

test('what runs from right to left is set apart, and cannot break out', () => {
  expect(isolated('نوفمبر')).toBe('\u2068نوفمبر\u2069');
  expect(isolated('Bot עוזר 7')).toBe('\u2068Bot עוזר 7\u2069');
  expect(isolated('\u2069\u202e999 \u2067x')).toBe('\u2068999 x\u2069');
});

import { describe, expect, test } from 'vitest';
import { change, perMessage, share } from './number.ts';

describe('change', () => {
  test.each([
    ['1124', '1000', 'up', '+12.4%', 'up 12.4 percent'],
    ['876', '1000', 'down', '−12.4%', 'down 12.4 percent'],
    ['1000', '1000.0', 'same', 'No change', 'no change'],
    ['5', '0', 'new', 'New', 'new, nothing before'],
    ['0', '0', 'same', 'No change', 'no change'],
    ['0', '5', 'down', '−100.0%', 'down 100.0 percent'],
    ['100001', '100000', 'up', '+<0.1%', 'up less than 0.1 percent'],
    ['50000', '1000', 'up', '+4,900%', 'up 4,900 percent'],
    ['9007199254740994', '9007199254740993', 'up', '+<0.1%', 'up less than 0.1 percent'],
  ])('from %2$s to %1$s', (now, before, kind, text, words) => {
    expect(change(now, before)).toEqual({ kind, text, words });
  });

  test('what is unknown or negative cannot be compared', () => {
    for (const [now, before] of [
      [null, '1'],
      ['1', null],
      ['1', '-3'],
    ] as const) {
      expect(change(now, before)).toEqual({ kind: 'unknown', text: '—', words: 'cannot be compared' });
    }
  });
});

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

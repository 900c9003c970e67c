import { describe, expect, test } from 'vitest';
import { change } from './change.ts';

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
    ['13349', '1000', 'up', '+1,235%', 'up 1,235 percent'],
    ['133445', '10000', 'up', '+1,234%', 'up 1,234 percent'],
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

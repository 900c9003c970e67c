import { describe, expect, test } from 'vitest';
import { addDays, addMonths, daysIn, isCivilDate, readDate, shift } from './civil.ts';

test('only dates that exist are dates', () => {
  expect(['2026-02-28', '2028-02-29', '2026-12-31'].every(isCivilDate)).toBe(true);
  expect(['2026-02-29', '2026-13-01', '2026-1-1', '', '2026-11-31', 'xyz'].some(isCivilDate)).toBe(false);
});

test('days and months cross years and short months', () => {
  expect(addDays('2026-12-31', 1)).toBe('2027-01-01');
  expect(addMonths('2026-01-31', 1)).toBe('2026-02-28');
  expect(addMonths('2027-12-31', 2)).toBe('2028-02-29');
  expect(daysIn('2026-11-01', '2026-11-30')).toBe(30);
});

describe('the neighbouring range', () => {
  test('has the same number of days', () => {
    expect(shift('2026-11-18', '2026-11-24', -1)).toEqual({ from: '2026-11-11', to: '2026-11-17' });
    expect(shift('2026-11-18', '2026-11-24', 1)).toEqual({ from: '2026-11-25', to: '2026-12-01' });
  });

  test('of a calendar month is a calendar month', () => {
    expect(shift('2026-02-01', '2026-02-28', -1)).toEqual({ from: '2026-01-01', to: '2026-01-31' });
    expect(shift('2026-02-01', '2026-02-28', 1)).toEqual({ from: '2026-03-01', to: '2026-03-31' });
  });

  test('of a billing period follows the anchor, also through short months', () => {
    expect(shift('2026-02-28', '2026-03-30', -1, 31)).toEqual({ from: '2026-01-31', to: '2026-02-27' });
    expect(shift('2026-01-31', '2026-02-27', 1, 31)).toEqual({ from: '2026-02-28', to: '2026-03-30' });
    expect(shift('2026-10-15', '2026-11-14', -1, 15)).toEqual({ from: '2026-09-15', to: '2026-10-14' });
  });

  test('leads back to where it came from', () => {
    for (const [from, to, day] of [
      ['2026-11-01', '2026-11-30', 1],
      ['2026-01-31', '2026-02-27', 31],
      ['2026-03-03', '2026-03-19', 1],
    ] as const) {
      const back = shift(from, to, -1, day);
      expect(shift(back.from, back.to, 1, day)).toEqual({ from, to });
    }
  });
});

test('typed dates are understood in the forms that people use', () => {
  for (const text of ['2026-11-01', ' 1 Nov 2026 ', '1 november 2026', 'Nov 1, 2026', '01 NOV 2026']) {
    expect(readDate(text), text).toBe('2026-11-01');
  }
  for (const text of ['', '2026-11-31', '1 Foo 2026', '11/01/2026', '31 Feb 2026', 'yesterday']) {
    expect(readDate(text), text).toBeNull();
  }
});

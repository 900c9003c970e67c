import { afterEach, describe, expect, test } from 'vitest';
import { random } from '../testing.ts';
import { change } from './change.ts';
import { reader, readFor } from './locale.ts';
import { group, percent, perMessage, share, tickLabel } from './number.ts';
import { axisLabel, barLabel, civilDate, civilSpan, clockSpan, hourMinuteSecond, timeOfDay } from './time.ts';

afterEach(() => readFor([], 'auto'));

const copenhagen = 'Europe/Copenhagen';
const at = '2026-11-12T14:05:09Z';
const thin = '\u202f';
const firm = '\u00a0';
const isolated = (text: string) => `\u2068${text}\u2069`;
/** Marks of direction that Arabic sets around signs, which show nothing. */
const unmarked = (text: string) => text.replace(/[\u200e\u200f\u061c]/g, '');
/** Releases differ in how wide the space before a percent sign is; none breaks the line. */
const percentOf = (text: string) => unmarked(text).replace(`${thin}%`, `${firm}%`);

const locales = [
  {
    locale: 'de-DE',
    figure: '1.234.567,000001',
    share: `62,0${firm}%`,
    change: `−12,4${firm}%`,
    rate: '1,61',
    span: '1. Nov. – 24. Nov. 2026',
    day: 'Do. 12. Nov. 2026',
    time: '15:05:09',
    hours: '12. Nov., 03:00–05:00',
  },
  {
    locale: 'fr-FR',
    figure: `1${thin}234${thin}567,000001`,
    share: `62,0${firm}%`,
    change: `−12,4${firm}%`,
    rate: '1,61',
    span: '1 nov. – 24 nov. 2026',
    day: 'jeu. 12 nov. 2026',
    time: '15:05:09',
    hours: '12 nov., 03:00–05:00',
  },
  {
    locale: 'en-IN',
    figure: '12,34,567.000001',
    share: '62.0%',
    change: '−12.4%',
    rate: '1.61',
    span: '1 Nov – 24 Nov 2026',
    day: 'Thu 12 Nov, 2026',
    time: '3:05:09 pm',
    hours: '12 Nov, 3:00 am – 5:00 am',
  },
  {
    locale: 'ar',
    figure: '1,234,567.000001',
    share: '62.0%',
    change: '−12.4%',
    rate: '1.61',
    span: `${isolated('1 نوفمبر')} – ${isolated('24 نوفمبر 2026')}`,
    day: isolated('الخميس 12 نوفمبر 2026'),
    time: isolated('3:05:09 م'),
    hours: `${isolated('12 نوفمبر')}, ${isolated('3:00 ص')} – ${isolated('5:00 ص')}`,
  },
  {
    locale: 'ja',
    figure: '1,234,567.000001',
    share: '62.0%',
    change: '−12.4%',
    rate: '1.61',
    span: '2026年11月1日 – 11月24日',
    day: '2026年11月12日(木)',
    time: '15:05:09',
    hours: '11月12日, 03:00–05:00',
  },
  {
    locale: 'hi-IN',
    figure: '12,34,567.000001',
    share: '62.0%',
    change: '−12.4%',
    rate: '1.61',
    span: '1 नव॰ – 24 नव॰ 2026',
    day: 'गुरु 12 नव॰ 2026',
    time: '3:05:09 pm',
    hours: '12 नव॰, 3:00 am – 5:00 am',
  },
  {
    locale: 'en-US',
    figure: '1,234,567.000001',
    share: '62.0%',
    change: '−12.4%',
    rate: '1.61',
    span: 'Nov 1 – Nov 24, 2026',
    day: 'Thu Nov 12, 2026',
    time: '3:05:09 PM',
    hours: 'Nov 12, 3:00 AM – 5:00 AM',
  },
];

// Some releases put a narrow space before am and pm, others a plain one.
const spaced = (text: string) => text.replace(/[\u202f\u00a0](?=[AaPp][Mm])/g, ' ');

describe.each(locales)('$locale', expected => {
  test('figures, shares, dates and times are the reader’s own', () => {
    readFor([expected.locale], 'auto');
    const bar = ['2026-11-11T23:00:00Z', '2026-11-12T23:00:00Z'] as const;
    const hours = ['2026-11-12T02:00:00Z', '2026-11-12T04:00:00Z'] as const;
    expect({
      figure: group('1234567.000001'),
      share: percentOf(share('62', true)),
      change: percentOf(change('876', '1000').text),
      rate: perMessage('12421', '7701'),
      span: civilSpan('2026-11-01', '2026-11-24'),
      day: barLabel(...bar, 'day', copenhagen),
      time: spaced(hourMinuteSecond(at, copenhagen)),
      hours: spaced(clockSpan(...hours, copenhagen)),
    }).toEqual({ ...expected, locale: undefined });
  });

  test('no digit of a figure is lost at any size', () => {
    readFor([expected.locale], 'auto');
    const point = group('1.5')[1]!;
    const seed = 261_127;
    const next = random(seed);
    const digits = (n: number) => Array.from({ length: n }, () => Math.floor(next() * 10)).join('');
    for (let round = 0; round < 200; round++) {
      const whole = `${1 + Math.floor(next() * 9)}${digits(Math.floor(next() * 39))}`;
      const fraction = `${digits(Math.floor(next() * 6))}${1 + Math.floor(next() * 9)}`;
      const figure = `${next() < 0.3 ? '-' : ''}${whole}.${fraction}`;
      const [shownWhole, shownFraction] = unmarked(group(figure)).split(new RegExp(`\\${point}(?=\\d*$)`));
      const plain = shownWhole!.replace('−', '-').replace(/[^\d-]/g, '');
      expect(`${plain}.${shownFraction}`, `seed ${seed}`).toBe(figure);
    }
  });
});

test('digits are Latin and the calendar is Gregorian, whatever the locale', () => {
  for (const locale of ['ar-EG', 'fa-IR', 'th-TH', 'mr-IN', 'my', 'ja-JP-u-ca-japanese', 'ar-u-nu-arab']) {
    readFor([locale], 'auto');
    const shown = [
      group('1234567890.5'),
      percent('62'),
      civilSpan('2026-11-01', '2026-11-24'),
      tickLabel(1500),
    ];
    expect(
      shown
        .join()
        .match(/\p{Nd}/gu)
        ?.every(digit => /[0-9]/.test(digit)),
      locale,
    ).toBe(true);
    expect(shown[2], locale).toContain('2026');
  }
});

test('the first language that the browser knows counts, and what is no language is passed over', () => {
  readFor(['en-US@posix', 'xx-invalid-language-tag', 'de-AT', 'fr'], 'auto');
  expect(reader().tag).toMatch(/^de-AT/);
  readFor(['@'], 'auto');
  expect(reader().tag).toMatch(/^en-GB/);
});

describe('the time format', () => {
  const shown = () => spaced(hourMinuteSecond(at, copenhagen));

  test('is the locale’s unless it is fixed', () => {
    readFor(['en-GB'], 'auto');
    expect(shown()).toBe('15:05:09');
    readFor(['en-GB'], '12h');
    expect(shown()).toBe('3:05:09 pm');
    readFor(['en-US'], '24h');
    expect(shown()).toBe('15:05:09');
  });

  test('of twelve hours begins the day at 12, and of 24 at 00 and ends it at 24', () => {
    const last = ['2026-11-12T22:00:00Z', '2026-11-12T23:00:00Z'] as const;
    readFor(['en-US'], '24h');
    expect(hourMinuteSecond('2026-11-11T23:05:09Z', copenhagen)).toBe('00:05:09');
    expect(clockSpan(...last, copenhagen)).toBe('Nov 12, 23:00–24:00');
    readFor(['en-US'], '12h');
    expect(spaced(hourMinuteSecond('2026-11-11T23:05:09Z', copenhagen))).toBe('12:05:09 AM');
    expect(spaced(clockSpan(...last, copenhagen))).toBe('Nov 12, 11:00 PM – 12:00 AM');
    readFor(['da'], 'auto');
    expect(clockSpan(...last, copenhagen)).toBe('12. nov., 23.00–24.00');
  });

  test('changes nothing about what is reckoned', () => {
    for (const [locale, hours] of [
      ['ar', '12h'],
      ['ja', '24h'],
      ['da', 'auto'],
    ] as const) {
      readFor([locale], hours);
      expect(civilDate('2026-11-23T23:30:00Z', copenhagen)).toBe('2026-11-24');
      expect(timeOfDay('2026-11-11T23:05:00Z', copenhagen)).toEqual([0, 5]);
    }
    readFor(['en-US'], '12h');
    expect(axisLabel('2026-11-11T23:00:00Z', 'hour', copenhagen)).toBe('Nov 12');
  });
});

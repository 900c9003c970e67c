/**
 * Words for instants, always in the zone of the answer, never in the browser's, and as the reader writes dates.
 * Nothing here moves an instant: it only says what the clock on that wall shows.
 */

import type { CivilDate, Grain, Instant, UsageRange } from '../api/types.ts';
import { isolated } from './isolate.ts';
import { reader } from './locale.ts';

const cache = new Map<string, Intl.DateTimeFormat>();

function formatter(locale: string, zone: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${locale} ${zone} ${JSON.stringify(options)}`;
  let found = cache.get(key);
  if (!found) {
    found = new Intl.DateTimeFormat(locale, { ...options, timeZone: zone });
    cache.set(key, found);
  }
  return found;
}

type When = Instant | Date;
const dateOf = (at: When) => (typeof at === 'string' ? new Date(at) : at);

const date = { day: 'numeric', month: 'short' } as const;
const withYear = { ...date, year: 'numeric' } as const;

/**
 * A locale puts a comma after the weekday in one release of a browser and none in the next; here there is none.
 */
function say(at: When, zone: string, options: Intl.DateTimeFormatOptions): string {
  const parts = formatter(reader().tag, zone, options).formatToParts(dateOf(at));
  const text = parts.map(({ type, value }, i) =>
    type === 'literal' && parts[i - 1]?.type === 'weekday' ? value.replace(/[,،]/, '') : value,
  );
  return isolated(text.join(''));
}

/** Hours have two digits where there are 24 of them, and as many as it takes where there are twelve. */
const clock = () => {
  const { hourCycle } = reader();
  return { hourCycle, hour: hourCycle === 'h12' ? 'numeric' : '2-digit', minute: '2-digit' } as const;
};

export const dayMonth = (at: When, zone: string) => say(at, zone, date);
export const dayMonthYear = (at: When, zone: string) => say(at, zone, withYear);
export const hourMinute = (at: When, zone: string) => say(at, zone, clock());
export const hourMinuteSecond = (at: When, zone: string) => say(at, zone, { ...clock(), second: '2-digit' });
/** For texts, whose language is not that of the reader's dates. */
export const weekdayIn = (language: string, at: When, zone: string) =>
  formatter(language, zone, { weekday: 'long' }).format(dateOf(at));

/** What the clock on the wall of that zone shows, to reckon with: ["2026-11-12", "14:05"]. */
function wall(at: When, zone: string): [CivilDate, string] {
  const parts = formatter('en-GB', zone, {
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23',
  }).formatToParts(dateOf(at));
  const part = (type: string) => parts.find(p => p.type === type)!.value;
  return [`${part('year')}-${part('month')}-${part('day')}`, `${part('hour')}:${part('minute')}`];
}

/** The date on the wall of that zone, YYYY-MM-DD. */
export const civilDate = (at: When, zone: string): CivilDate => wall(at, zone)[0];

/** Hours and minutes past midnight on the wall of that zone. */
export const timeOfDay = (at: When, zone: string) =>
  wall(at, zone)[1].split(':').map(Number) as [number, number];

const isMidnight = (at: When, zone: string) => wall(at, zone)[1] === '00:00';

/** "CET", "GMT+5:45": the name that the zone has at that instant. */
export function zoneName(at: When, zone: string): string {
  const parts = formatter(reader().tag, zone, { timeZoneName: 'short' }).formatToParts(dateOf(at));
  return isolated(parts.find(p => p.type === 'timeZoneName')?.value ?? zone);
}

const noon = (day: CivilDate) => `${day}T12:00:00Z`;

/** "1 Nov – 24 Nov 2026", both dates included: one year is said once, where the reader's dates have it. */
export function civilSpan(from: CivilDate, to: CivilDate): string {
  if (from === to) return dayMonthYear(noon(from), 'UTC');
  const once = from.slice(0, 4) === to.slice(0, 4);
  const order = formatter(reader().tag, 'UTC', withYear).formatToParts(dateOf(noon(from)));
  const yearFirst = order.find(part => part.type !== 'literal')?.type === 'year';
  const first = once && !yearFirst ? dayMonth : dayMonthYear;
  const last = once && yearFirst ? dayMonth : dayMonthYear;
  return `${first(noon(from), 'UTC')} – ${last(noon(to), 'UTC')}`;
}

/** "12 Nov, 03:00–05:00" or "12 Nov, 22:00 – 13 Nov, 02:00". */
export function clockSpan(start: Instant, end: Instant, zone: string): string {
  const last = new Date(Date.parse(end) - 1);
  if (civilDate(start, zone) !== civilDate(last, zone)) {
    return `${dayMonth(start, zone)}, ${hourMinute(start, zone)} – ${dayMonth(end, zone)}, ${hourMinute(end, zone)}`;
  }
  return `${dayMonth(start, zone)}, ${hourSpan(start, end, zone)}`;
}

/**
 * "03:00–05:00", "3:00 am – 5:00 am". Where the clock goes back the same time comes twice, so both ends carry the
 * zone's name; of 24 hours the last one ends at 24:00.
 */
function hourSpan(start: Instant, end: Instant, zone: string): string {
  const names = zoneName(start, zone) !== zoneName(new Date(Date.parse(end) - 1), zone);
  const name = (at: Instant) => (names || repeats(at, zone) ? ` ${zoneName(at, zone)}` : '');
  const from = hourMinute(start, zone) + name(start);
  const to = hourMinute(end, zone);
  if (reader().hourCycle === 'h12') return `${from} – ${to}${name(end)}`;
  return `${from}–${isMidnight(end, zone) ? to.replace('00', '24') : to + name(end)}`;
}

/** Whether this time of day comes twice on its date: the hour before or after has another offset, same clock. */
export function repeats(at: Instant, zone: string): boolean {
  const time = Date.parse(at);
  const shown = wall(at, zone).join();
  return [-3_600_000, 3_600_000, -1_800_000, 1_800_000].some(
    shift => wall(new Date(time + shift), zone).join() === shown,
  );
}

/** What a range is called in a control: dates where it is made of whole days, times where it is not. */
export function rangeLabel(range: UsageRange): string {
  if (range.from && range.to) return civilSpan(range.from, range.to);
  return instantSpan(range.start, range.end, range.timezone);
}

/** The same for two bare instants. */
export function instantSpan(start: Instant, end: Instant, zone: string): string {
  const last = new Date(Date.parse(end) - 1);
  if (isMidnight(start, zone) && isMidnight(end, zone)) {
    return civilSpan(civilDate(start, zone), civilDate(last, zone));
  }
  return clockSpan(start, end, zone);
}

/** A bar's name in full, for the tooltip, the table and the screen reader. */
export function barLabel(start: Instant, end: Instant, grain: Grain, zone: string): string {
  if (grain === 'day') return say(start, zone, { weekday: 'short', ...withYear });
  if (grain === 'month' || grain === 'week') return instantSpan(start, end, zone);
  return `${say(start, zone, { weekday: 'short', ...date })}, ${hourSpan(start, end, zone)}`;
}

/** The same bar on the axis, as short as can be. */
export function axisLabel(start: Instant, grain: Grain, zone: string): string {
  if (grain === 'month') return say(start, zone, { month: 'short', year: 'numeric' });
  if (grain === 'day' || grain === 'week') return dayMonth(start, zone);
  if (isMidnight(start, zone)) return dayMonth(start, zone);
  const time = hourMinute(start, zone);
  return repeats(start, zone) ? `${time} ${zoneName(start, zone)}` : time;
}

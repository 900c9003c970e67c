/**
 * Words for instants, always in the zone of the answer, never in the browser's. Nothing here moves an
 * instant: it only says what the clock on that wall shows.
 */

import type { CivilDate, Grain, Instant, UsageRange } from '../api/types.ts';

const cache = new Map<string, Intl.DateTimeFormat>();

function formatter(zone: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = zone + JSON.stringify(options);
  let found = cache.get(key);
  if (!found) {
    found = new Intl.DateTimeFormat('en-GB', { hourCycle: 'h23', ...options, timeZone: zone });
    cache.set(key, found);
  }
  return found;
}

const date = { day: 'numeric', month: 'short' } as const;
const clock = { hour: '2-digit', minute: '2-digit' } as const;

const say = (at: Instant | Date, zone: string, options: Intl.DateTimeFormatOptions) =>
  formatter(zone, options).format(typeof at === 'string' ? new Date(at) : at);

export const dayMonth = (at: Instant | Date, zone: string) => say(at, zone, date);
export const dayMonthYear = (at: Instant | Date, zone: string) => say(at, zone, { ...date, year: 'numeric' });
export const hourMinute = (at: Instant | Date, zone: string) => say(at, zone, clock);
export const hourMinuteSecond = (at: Instant | Date, zone: string) =>
  say(at, zone, { ...clock, second: '2-digit' });
export const weekday = (at: Instant | Date, zone: string) => say(at, zone, { weekday: 'long' });

/** The date on the wall of that zone, YYYY-MM-DD. */
export function civilDate(at: Instant | Date, zone: string): CivilDate {
  const parts = formatter(zone, { year: 'numeric', month: '2-digit', day: '2-digit' }).formatToParts(
    typeof at === 'string' ? new Date(at) : at,
  );
  const part = (type: string) => parts.find(p => p.type === type)!.value;
  return `${part('year')}-${part('month')}-${part('day')}`;
}

/** "CET", "GMT+5:45": the name that the zone has at that instant. */
export function zoneName(at: Instant | Date, zone: string): string {
  return (
    formatter(zone, { timeZoneName: 'short' })
      .formatToParts(typeof at === 'string' ? new Date(at) : at)
      .find(p => p.type === 'timeZoneName')?.value ?? zone
  );
}

export function isZone(zone: string): boolean {
  try {
    formatter(zone, {});
    return true;
  } catch {
    return false;
  }
}

/** "1 Nov – 24 Nov 2026", both dates included. */
export function civilSpan(from: CivilDate, to: CivilDate): string {
  if (from === to) return dayMonthYear(`${from}T12:00:00Z`, 'UTC');
  const sameYear = from.slice(0, 4) === to.slice(0, 4);
  const first = (sameYear ? dayMonth : dayMonthYear)(`${from}T12:00:00Z`, 'UTC');
  return `${first} – ${dayMonthYear(`${to}T12:00:00Z`, 'UTC')}`;
}

/** "12 Nov, 03:00–05:00" or "12 Nov, 22:00 – 13 Nov, 02:00". */
export function clockSpan(start: Instant, end: Instant, zone: string): string {
  const last = new Date(Date.parse(end) - 1);
  if (civilDate(start, zone) !== civilDate(last, zone)) {
    return `${dayMonth(start, zone)}, ${hourMinute(start, zone)} – ${dayMonth(end, zone)}, ${hourMinute(end, zone)}`;
  }
  const [from, to] = hourSpan(start, end, zone);
  return `${dayMonth(start, zone)}, ${from}–${to}`;
}

/** Where the clock goes back the same time comes twice, so both ends carry the zone's name. */
function hourSpan(start: Instant, end: Instant, zone: string): [string, string] {
  const names = zoneName(start, zone) !== zoneName(new Date(Date.parse(end) - 1), zone);
  const from = hourMinute(start, zone) + (names || repeats(start, zone) ? ` ${zoneName(start, zone)}` : '');
  const to = hourMinute(end, zone);
  return [
    from,
    to === '00:00' ? '24:00' : to + (names || repeats(end, zone) ? ` ${zoneName(end, zone)}` : ''),
  ];
}

/** Whether this time of day comes twice on its date: the hour before or after has another offset, same clock. */
export function repeats(at: Instant, zone: string): boolean {
  const time = Date.parse(at);
  const wall = civilDate(at, zone) + hourMinute(at, zone);
  return [-3_600_000, 3_600_000, -1_800_000, 1_800_000].some(shift => {
    const other = new Date(time + shift);
    return civilDate(other, zone) + hourMinute(other, zone) === wall;
  });
}

/** What a range is called in a control: dates where it is made of whole days, times where it is not. */
export function rangeLabel(range: UsageRange): string {
  if (range.from && range.to) return civilSpan(range.from, range.to);
  return instantSpan(range.start, range.end, range.timezone);
}

/** The same for two bare instants. */
export function instantSpan(start: Instant, end: Instant, zone: string): string {
  const last = new Date(Date.parse(end) - 1);
  if (hourMinute(start, zone) === '00:00' && hourMinute(end, zone) === '00:00') {
    return civilSpan(civilDate(start, zone), civilDate(last, zone));
  }
  return clockSpan(start, end, zone);
}

/** A bar's name in full, for the tooltip, the table and the screen reader. */
export function barLabel(start: Instant, end: Instant, grain: Grain, zone: string): string {
  // Put together here, because where the comma goes differs between browsers' releases.
  const short = say(start, zone, { weekday: 'short' });
  if (grain === 'day') return `${short} ${dayMonthYear(start, zone)}`;
  if (grain === 'month' || grain === 'week') return instantSpan(start, end, zone);
  const [from, to] = hourSpan(start, end, zone);
  return `${short} ${dayMonth(start, zone)}, ${from}–${to}`;
}

/** The same bar on the axis, as short as can be. */
export function axisLabel(start: Instant, grain: Grain, zone: string): string {
  if (grain === 'month') return say(start, zone, { month: 'short', year: 'numeric' });
  if (grain === 'day' || grain === 'week') return dayMonth(start, zone);
  const time = hourMinute(start, zone);
  if (time === '00:00') return dayMonth(start, zone);
  return repeats(start, zone) ? `${time} ${zoneName(start, zone)}` : time;
}

/** "4 s", "6 minutes", "3 hours": rounded down, because nobody is helped by more. */
export function duration(seconds: number): string {
  const unit = (n: number, name: string) => `${n} ${name}${n === 1 ? '' : 's'}`;
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`;
  if (seconds < 3600) return unit(Math.floor(seconds / 60), 'minute');
  if (seconds < 172_800) return unit(Math.floor(seconds / 3600), 'hour');
  return unit(Math.floor(seconds / 86_400), 'day');
}

/**
 * Arithmetic on calendar dates alone, without any zone: what ◂ and ▸ need, and what a typed date needs to
 * be understood. Which instants a date covers is the service's business.
 */

import type { CivilDate } from '../api/types.ts';

const iso = /^(\d{4})-(\d{2})-(\d{2})$/;
const dayMs = 86_400_000;
const months = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];

function utc(year: number, month: number, day: number): number | null {
  const time = Date.UTC(year, month - 1, day);
  const date = new Date(time);
  return year >= 1970 && date.getUTCMonth() === month - 1 && date.getUTCDate() === day ? time : null;
}

function toTime(date: CivilDate): number | null {
  const match = iso.exec(date);
  return match ? utc(Number(match[1]), Number(match[2]), Number(match[3])) : null;
}

const fromTime = (time: number): CivilDate => new Date(time).toISOString().slice(0, 10);

export const isCivilDate = (text: string): boolean => toTime(text) !== null;

/** Days from `from` to `to`, both included. */
export const daysIn = (from: CivilDate, to: CivilDate): number =>
  Math.round((toTime(to)! - toTime(from)!) / dayMs) + 1;

export const addDays = (date: CivilDate, days: number): CivilDate => fromTime(toTime(date)! + days * dayMs);

/** The given day of the month that `date` is in, `count` months on; the last day where there is no such day. */
const onDay = (date: CivilDate, day: number, count: number): CivilDate => {
  const [year, month] = date.split('-').map(Number) as [number, number];
  const last = new Date(Date.UTC(year, month + count, 0));
  return fromTime(Date.UTC(last.getUTCFullYear(), last.getUTCMonth(), Math.min(day, last.getUTCDate())));
};

/** The same day `count` months on, or the last day of a shorter month. */
export const addMonths = (date: CivilDate, count: number): CivilDate =>
  onDay(date, Number(date.slice(8)), count);

/**
 * The range of the same length right before or after. A calendar month moves by a month, and so does a period
 * that begins on the anchor's day, the 29th to 31st being a shorter month's last.
 */
export function shift(
  from: CivilDate,
  to: CivilDate,
  direction: -1 | 1,
  anchorDay = 1,
): { from: CivilDate; to: CivilDate } {
  const next = addDays(to, 1);
  for (const day of [1, anchorDay]) {
    if (onDay(from, day, 0) !== from || onDay(from, day, 1) !== next) continue;
    return direction < 0
      ? { from: onDay(from, day, -1), to: addDays(from, -1) }
      : { from: next, to: addDays(onDay(next, day, 1), -1) };
  }
  const days = daysIn(from, to) * direction;
  return { from: addDays(from, days), to: addDays(to, days) };
}

/** What someone typed: 2026-11-01, 1 Nov 2026, 1 November 2026 or Nov 1, 2026; null if it is not a date. */
export function readDate(text: string): CivilDate | null {
  const trimmed = text.trim();
  if (toTime(trimmed) !== null) return trimmed;
  const words = trimmed.toLowerCase().replace(/[,.]/g, ' ').split(/\s+/);
  if (words.length !== 3) return null;
  const month = words.findIndex(word => /^[a-z]{3,}$/.test(word));
  if (month !== 0 && month !== 1) return null;
  const numeral = months.indexOf(words[month]!.slice(0, 3)) + 1;
  const day = words[month === 0 ? 1 : 0]!;
  const year = words[2]!;
  if (!numeral || !/^\d{1,2}$/.test(day) || !/^\d{4}$/.test(year)) return null;
  const time = utc(Number(year), numeral, Number(day));
  return time === null ? null : fromTime(time);
}

/**
 * Whose eyes the figures are for: grouping, decimal sign, order of dates, names of months and 12 or 24 hours are
 * the reader's own.
 *
 * Two things are not. Digits are Latin in every locale: figures are compared with the CSV, with Billing and with
 * what a colleague reads, digit by digit, and stand in columns of one width. The calendar is the Gregorian one,
 * because the service's days, billing periods and links are.
 */

export type TimeFormat = 'auto' | '12h' | '24h';

interface Reader {
  /** The locale as every formatter takes it. */
  tag: string;
  hourCycle: 'h12' | 'h23';
}

const fallback = 'en-GB';

let current = readerOf([], 'auto');

/** Called once, before anything is drawn. */
export function readFor(languages: readonly string[], hours: TimeFormat) {
  current = readerOf(languages, hours);
}

export const reader = (): Readonly<Reader> => current;

function readerOf(languages: readonly string[], hours: TimeFormat): Reader {
  const own = languages.find(isKnown) ?? fallback;
  const tag = new Intl.Locale(own, { numberingSystem: 'latn', calendar: 'gregory' }).toString();
  const habit = new Intl.DateTimeFormat(tag, { hour: 'numeric' }).resolvedOptions().hourCycle;
  const twelve = hours === 'auto' ? habit === 'h11' || habit === 'h12' : hours === '12h';
  return { tag, hourCycle: twelve ? 'h12' : 'h23' };
}

/** The language of the reader's dates, where it is not that of the text around them: how they are said aloud. */
export function foreignTo(language: string): string | undefined {
  const own = new Intl.Locale(current.tag);
  return own.language === language ? undefined : own.baseName;
}

/** Some systems report what is no language tag, such as "en-US@posix". */
function isKnown(language: string): boolean {
  try {
    return Intl.NumberFormat.supportedLocalesOf(language).length > 0;
  } catch {
    return false;
  }
}

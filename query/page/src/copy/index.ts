/**
 * What the page says, all of it. Another language is another object of the same type in `catalogues`: texts,
 * and functions where a figure or a name stands inside. Figures and dates in them are the reader's own
 * (format/locale.ts), whatever the language of the text.
 */

import { type Catalogue, en } from './en.ts';

export type { Catalogue };

const catalogues: Record<string, Catalogue> = { en };

/** The catalogue of the first language that there is one of. */
export function catalogueFor(languages: readonly string[]): Catalogue {
  const own = languages.map(language => language.split('-')[0]!.toLowerCase());
  return catalogues[own.find(language => Object.hasOwn(catalogues, language)) ?? 'en']!;
}

export const copy = catalogueFor(typeof navigator === 'undefined' ? [] : (navigator.languages ?? []));

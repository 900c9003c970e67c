export type Forms = Partial<Record<Intl.LDMLPluralRule, string>> & { other: string };

/** Chooses the form of a word that goes with a count, by a language's own rules. */
export function pluralIn(language: string) {
  const rules = new Intl.PluralRules(language);
  return (count: string | number, forms: Forms): string => forms[rules.select(Number(count))] ?? forms.other;
}

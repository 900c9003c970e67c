/** Letters that run from right to left, and marks that say which way to go. */
const turning =
  /[\u0590-\u08ff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufb1d-\ufdff\ufe70-\ufefc]|[\u{10800}-\u{10fff}]|[\u{1e800}-\u{1efff}]/u;
const marks = /[\u202a-\u202e\u2066-\u2069]/g;

/** A name or a date within a text, so that one which runs from right to left does not turn round what stands beside it. */
export const isolated = (text: string) =>
  turning.test(text) ? `\u2068${text.replace(marks, '')}\u2069` : text;

import { expect, test } from 'vitest';
import { en } from './en.ts';

/** What Go writes on the page of figures that needs no script. */
const templates: Record<string, string> = import.meta.glob(
  ['../../noscript/figures.gohtml', '../../noscript/parts.gohtml'],
  { query: '?raw', import: 'default', eager: true },
);
const programs: Record<string, string> = import.meta.glob(['../../noscript.go', '../../../usagepage.go'], {
  query: '?raw',
  import: 'default',
  eager: true,
});

/** What only that page has to say, or has to say otherwise. */
const itsOwn = [
  'Range',
  'Dates below',
  'Only the agents that used most are listed.',
  'Show',
  'A temporary hiccup can stop a range from loading. Reload the page to retry. If it persists, contact',
  'This workspace or agent isn’t available to you.',
  'Too many requests at the moment. Try again in a few seconds.',
];

const leaves = (value: unknown): string[] =>
  typeof value === 'string'
    ? [value]
    : value && typeof value === 'object'
      ? Object.values(value).flatMap(leaves)
      : [];

const catalogue = [
  ...leaves(en),
  en.partial(en.thisRange),
  en.deleted('{}'),
  en.reference('{}'),
  en.timesIn('{}'),
  en.dataBehind('{}'),
  `${en.dataBehind('{}')}.`,
  en.usageBy('day', '{}', '{}').replace(' day', ' {}'),
  en.recordedEvents('2').replace('2', '{}'),
  en.of(2).replace('2', '{}'),
];

/** Texts end where a figure, a link or a tag begins. */
const pieces = (text: string) =>
  text
    .split('{}')
    .map(piece => piece.replace(/^[\s.,]+|[\s,]+$/g, ''))
    .filter(piece => /\p{L}/u.test(piece));

const known = new Set([...catalogue.flatMap(pieces), ...itsOwn]);

function saidIn(template: string): string[] {
  const labels = [...template.matchAll(/(?:aria-label|placeholder|title)="([^"{]+)"/g)].map(
    match => match[1]!,
  );
  const heads = [...template.matchAll(/\{\{template "head" \(head "([^"]+)"/g)].map(match => match[1]!);
  const text = template.replace(/\{\{.*?\}\}/gs, '{}').replace(/<[^>]*>/g, '{}');
  return [...labels, ...heads, ...pieces(text)];
}

const saidBy = (program: string): string[] =>
  [...program.matchAll(/(?:return |Label: |Reasons, )"(\p{Lu}\p{Ll}[^"]*)"/gu)].map(match => match[1]!);

test.each(Object.entries(templates))('%s says what the page with scripts says', (_, template) => {
  const said = saidIn(template);
  expect(said.length).toBeGreaterThan(2);
  expect(said.filter(text => !known.has(text))).toEqual([]);
});

test.each(Object.entries(programs))('%s says what the page with scripts says', (_, program) => {
  const said = saidBy(program);
  expect(said.length).toBeGreaterThan(0);
  expect(said.filter(text => !known.has(text))).toEqual([]);
});

test('what it says otherwise is said there', () => {
  const said = new Set([
    ...Object.values(templates).flatMap(saidIn),
    ...Object.values(programs).flatMap(saidBy),
  ]);
  expect(itsOwn.filter(text => !said.has(text))).toEqual([]);
});

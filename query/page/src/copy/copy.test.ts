import { afterEach, expect, test } from 'vitest';
import sentences from '../../../testdata/insights/sentences.json';
import type { Dashboard } from '../api/types.ts';
import { answerIn } from '../components/sentence.tsx';
import { readFor } from '../format/locale.ts';
import { en } from './en.ts';
import { catalogueFor, copy } from './index.ts';
import { pluralIn } from './plural.ts';

afterEach(() => readFor([], 'auto'));

const answers: Dashboard['insights'][] = sentences;

test('the page’s answer is the service’s sentence, word for word', () => {
  expect(answers.length).toBeGreaterThan(10);
  for (const insights of answers) expect(answerIn(insights)).toBe(insights.sentence);
});

test('the answer’s figures are written as every other figure is', () => {
  readFor(['de-DE'], 'auto');
  expect(answerIn(answers[0]!)).toBe(
    'Support Bot drove 62\u00a0% of credits in this range (7.701 of 12.421). ' +
      'Biggest rise: Sales Bot, +3.200 (+211\u00a0%).',
  );
});

test('a reader of a language that there is no catalogue of reads English', () => {
  expect(catalogueFor(['de-DE', 'en-US'])).toBe(en);
  expect(catalogueFor([])).toBe(en);
  expect(catalogueFor(['constructor'])).toBe(en);
});

test('words go with their counts by the rules of their language', () => {
  expect([copy.recordedEvents('1'), copy.recordedEvents('48112')]).toEqual([
    '1 recorded event',
    '48,112 recorded events',
  ]);
  expect([copy.playground('1'), copy.playground('12')]).toEqual([
    '1 Playground message in this range was not counted.',
    '12 Playground messages in this range were not counted.',
  ]);
  expect([copy.slots.left(0), copy.slots.left(1), copy.seats.left(2)]).toEqual([
    'No slot left',
    '1 slot left',
    '2 seats left',
  ]);
  const polish = pluralIn('pl');
  const forms = { one: 'kredyt', few: 'kredyty', many: 'kredytów', other: 'kredytu' };
  expect(['1', '3', '5', '22', '1.5'].map(count => polish(count, forms))).toEqual([
    'kredyt',
    'kredyty',
    'kredytów',
    'kredyty',
    'kredytu',
  ]);
});

test('durations are said in the unit that fits', () => {
  expect([0.4, 4, 61, 360, 3700, 200_000].map(copy.duration)).toEqual([
    '0 s',
    '4 s',
    '1 minute',
    '6 minutes',
    '1 hour',
    '2 days',
  ]);
});

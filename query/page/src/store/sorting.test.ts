import { expect, test } from 'vitest';
import { agent } from '../testing.ts';
import { sorted } from './sorting.ts';

const agents = [
  agent('b', '9007199254740993', { messages: '2', previous_credits: '9007199254740993' }),
  agent('a', '9007199254740992', { messages: '10', previous_credits: '0', name: 'Agent 10' }),
  agent('c', '5', { messages: '0', previous_credits: null, name: 'Agent 9' }),
];
const ids = (key: Parameters<typeof sorted>[1]['key'], descending: boolean) =>
  sorted(agents, { key, descending }).map(one => one.id);

test('credits are ordered exactly, also beyond what a Number holds', () => {
  expect(ids('credits', true)).toEqual(['b', 'a', 'c']);
  expect(ids('credits', false)).toEqual(['c', 'a', 'b']);
});

test('names are ordered as people count', () => {
  expect(ids('name', false)).toEqual(['c', 'a', 'b']);
});

test('an agent without messages has no rate and comes last', () => {
  expect(ids('rate', true)).toEqual(['b', 'a', 'c']);
});

test('change is by how much, and equal rows keep their rank', () => {
  expect(ids('change', true)).toEqual(['a', 'b', 'c']);
});

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

test('credits without a message are more for each than any rate, as in the service’s order', () => {
  expect(ids('rate', true)).toEqual(['c', 'b', 'a']);
});

test('change is by what its column shows, what is new above all, and equal rows keep their rank', () => {
  expect(ids('change', true)).toEqual(['a', 'b', 'c']);
  const risers = [
    agent('much', '1500', { previous_credits: '1000' }),
    agent('twice', '200', { previous_credits: '100' }),
    agent('down', '90', { previous_credits: '100' }),
    agent('fresh', '10', { previous_credits: '0' }),
    agent('as-much', '15', { previous_credits: '10' }),
  ];
  const order = (descending: boolean) => sorted(risers, { key: 'change', descending }).map(one => one.id);
  expect(order(true)).toEqual(['fresh', 'twice', 'much', 'as-much', 'down']);
  expect(order(false)).toEqual(['down', 'much', 'as-much', 'twice', 'fresh']);
});

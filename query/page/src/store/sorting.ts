import type { AgentUsage } from '../api/types.ts';
import { compare, compareQuotients, subtract } from '../format/decimal.ts';
import type { Sort, SortKey } from './view.ts';

const rise = ({ credits, previous_credits: before }: AgentUsage): [string, string] =>
  before === null ? ['0', '0'] : [subtract(credits, before), before];

const orders: Record<SortKey, (a: AgentUsage, b: AgentUsage) => number> = {
  name: (a, b) => a.name.localeCompare(b.name, 'en', { sensitivity: 'base', numeric: true }),
  credits: (a, b) => compare(a.credits, b.credits),
  share: (a, b) => compare(a.credits, b.credits),
  messages: (a, b) => compare(a.messages, b.messages),
  rate: (a, b) => compareQuotients([a.credits, a.messages], [b.credits, b.messages]),
  change: (a, b) => compareQuotients(rise(a), rise(b)),
};

/** Equal rows keep the order of the ranking. */
export function sorted(agents: AgentUsage[], { key, descending }: Sort): AgentUsage[] {
  const order = orders[key];
  return [...agents].sort((a, b) => (descending ? order(b, a) : order(a, b)));
}

/** The service's names for the same orders. */
export const serviceSort: Record<SortKey, string> = {
  name: 'name',
  credits: 'credits',
  share: 'credits',
  messages: 'messages',
  rate: 'credits_per_message',
  change: 'change',
};

import type { AgentUsage } from '../api/types.ts';
import { compare, divide, subtract } from '../format/decimal.ts';
import type { Sort, SortKey } from './view.ts';

/** What an agent without messages costs each is nothing that can be ranked: it comes last. */
const rate = (agent: AgentUsage) => divide(agent.credits, agent.messages, 6) ?? '-1';
const rise = (agent: AgentUsage) =>
  agent.previous_credits === null ? '0' : subtract(agent.credits, agent.previous_credits);

const orders: Record<SortKey, (a: AgentUsage, b: AgentUsage) => number> = {
  name: (a, b) => a.name.localeCompare(b.name, 'en', { sensitivity: 'base', numeric: true }),
  credits: (a, b) => compare(a.credits, b.credits),
  share: (a, b) => compare(a.credits, b.credits),
  messages: (a, b) => compare(a.messages, b.messages),
  rate: (a, b) => compare(rate(a), rate(b)),
  change: (a, b) => compare(rise(a), rise(b)),
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

/**
 * The leaderboard's rows. The page's one answer holds the first hundred agents; where there are more, further
 * ones come by cursor, and another order comes from the service, which knows them all.
 */

import { useSignal } from '@preact/signals';
import { useEffect, useMemo } from 'preact/hooks';
import { type Answer, get } from '../api/client.ts';
import type { AgentsPage, AgentUsage, Dashboard } from '../api/types.ts';
import { learnNames } from './facts.ts';
import { usage } from './page.ts';
import { serviceSort, sorted } from './sorting.ts';
import type { Sort } from './view.ts';

const pageSize = 100;

interface Pages {
  /** The question and the order that they answer. */
  key: string;
  rows: AgentUsage[];
  cursor: string | null;
  failed: boolean;
}

export interface Board {
  /** The rank is by credits, whatever the order; null where it is not known. */
  rows: { agent: AgentUsage; rank: number | null }[];
  total: number;
  failed: boolean;
  loadMore: () => Promise<void>;
}

export function useBoard(data: Dashboard | null, sort: Sort): Board {
  const pages = useSignal<Pages | null>(null);
  const first = data?.agents ?? [];
  const total = data?.agents_total ?? 0;
  const whole = first.length >= total;
  const ranked = (sort.key === 'credits' || sort.key === 'share') && sort.descending;
  const order = `sort=${serviceSort[sort.key]}&order=${sort.descending ? 'desc' : 'asc'}`;
  const key = `${usage.shown.value?.key}&${order}`;
  const held = pages.value?.key === key ? pages.value : null;

  const loadMore = async () => {
    const before = pages.peek()?.key === key ? pages.peek() : null;
    if (whole || (before && !before.cursor)) return;
    const known = new Set((ranked ? first : []).concat(before?.rows ?? []).map(agent => agent.id));
    let rows = before?.rows ?? [];
    let cursor = before?.cursor ?? null;
    try {
      // The answer holds the first ranked page already: read on until a page brings someone new.
      do {
        const at: string = cursor ? `&cursor=${encodeURIComponent(cursor)}` : '';
        const path = `/v1/usage/agents?${key}&limit=${pageSize}${at}`;
        const { data: page }: Answer<AgentsPage> = await get<AgentsPage>(path);
        const fresh = page.agents.filter(agent => !known.has(agent.id));
        rows = [...rows, ...fresh];
        cursor = page.next_cursor;
        if (fresh.length) break;
      } while (cursor);
      learnNames(rows);
      pages.value = { key, rows, cursor, failed: false };
    } catch {
      pages.value = { key, rows, cursor, failed: true };
    }
  };

  const asksService = data !== null && !whole && !ranked;
  useEffect(() => {
    if (asksService && !held) void loadMore();
  }, [asksService, key]);

  const rows = useMemo(() => {
    const fresh = new Map(first.map((agent, index) => [agent.id, { agent, rank: index + 1 }]));
    const extra = (held?.rows ?? []).map(agent => fresh.get(agent.id) ?? { agent, rank: null });
    if (whole || (asksService && !held)) return sorted(first, sort).map(agent => fresh.get(agent.id)!);
    if (asksService) return extra;
    const more = extra.filter(row => !fresh.has(row.agent.id));
    return [...fresh.values(), ...more.map((row, index) => ({ ...row, rank: first.length + index + 1 }))];
  }, [data, held, sort.key, sort.descending]);

  return { rows, total, failed: held?.failed ?? false, loadMore };
}

/**
 * The leaderboard's rows. The page's one answer holds the first hundred agents; where there are more, further
 * ones come by cursor, and another order comes from the service, which knows them all. With each new answer they
 * are read anew, and until they are there the rows stay what they were: rows of two states add up to nothing.
 */

import { useSignal } from '@preact/signals';
import { useEffect, useMemo, useRef } from 'preact/hooks';
import { get } from '../api/client.ts';
import type { AgentsPage, AgentUsage, Dashboard } from '../api/types.ts';
import { learnNames } from './facts.ts';
import { usage } from './page.ts';
import { serviceSort, sorted } from './sorting.ts';
import type { Sort } from './view.ts';

const pageSize = 100;

interface Pages {
  /** The question and the order that they answer. */
  key: string;
  /** The answer that they go with. */
  of: Dashboard;
  rows: AgentUsage[];
  cursor: string | null;
  failed: boolean;
}

/** The rank is by credits, whatever the order; null where it is not known. */
type Row = { agent: AgentUsage; rank: number | null };

export interface Board {
  rows: Row[];
  total: number;
  failed: boolean;
  loadMore: () => void;
}

export function useBoard(data: Dashboard | null, sort: Sort): Board {
  const pages = useSignal<Pages | null>(null);
  /** How many rows beyond those of the answer are asked for; a new object asks again. */
  const wanted = useSignal({ key: '', rows: 0 });
  const settled = useRef<{ key: string; rows: Row[] } | null>(null);
  const first = data?.agents ?? [];
  const total = data?.agents_total ?? 0;
  const whole = first.length >= total;
  const ranked = (sort.key === 'credits' || sort.key === 'share') && sort.descending;
  const asksService = data !== null && !whole && !ranked;
  const order = `sort=${serviceSort[sort.key]}&order=${sort.descending ? 'desc' : 'asc'}`;
  const key = `${usage.shown.value?.key}&${order}`;
  const held = pages.value?.key === key && pages.value.of === data ? pages.value : null;
  const asked = wanted.value.key === key ? wanted.value.rows : 0;
  const need = whole ? 0 : Math.max(asked, asksService ? pageSize : 0);

  useEffect(() => {
    if (!data || (held && !held.failed && (held.rows.length >= need || !held.cursor)) || !need) return;
    const controller = new AbortController();
    const { signal } = controller;
    const read = async () => {
      const known = new Set((ranked ? first : []).concat(held?.rows ?? []).map(agent => agent.id));
      let rows = held?.rows ?? [];
      let cursor = held?.cursor ?? null;
      const keep = (failed: boolean) => {
        if (!signal.aborted) pages.value = { key, of: data, rows, cursor, failed };
      };
      try {
        // Where the answer holds the first ranked page already, that page brings nobody new.
        do {
          const at: string = cursor ? `&cursor=${encodeURIComponent(cursor)}` : '';
          const path = `/v1/usage/agents?${key}&limit=${pageSize}${at}`;
          const { data: page } = await get<AgentsPage>(path, { signal });
          rows = rows.concat(page.agents.filter(agent => !known.has(agent.id)));
          cursor = page.next_cursor;
        } while (cursor && rows.length < need);
        learnNames(rows);
        keep(false);
      } catch {
        keep(true);
      }
    };
    void read();
    return () => controller.abort();
  }, [key, data, need, wanted.value]);

  const rows = useMemo(() => {
    // Of the same question, and read for the answer before.
    if (need && !held && settled.current?.key === key) return settled.current.rows;
    const fresh = new Map(first.map((agent, index) => [agent.id, { agent, rank: index + 1 }]));
    const extra = (held?.rows ?? []).map(agent => fresh.get(agent.id) ?? { agent, rank: null });
    if (whole || (asksService && !extra.length))
      return sorted(first, sort).map(agent => fresh.get(agent.id)!);
    if (asksService) return extra;
    const more = extra.filter(row => !fresh.has(row.agent.id));
    return [...fresh.values(), ...more.map((row, index) => ({ ...row, rank: first.length + index + 1 }))];
  }, [data, held, need, sort.key, sort.descending]);
  settled.current = { key, rows };

  const loadMore = () => {
    wanted.value = { key, rows: (held?.rows.length ?? asked) + pageSize };
  };
  return { rows, total, failed: held?.failed ?? false, loadMore };
}

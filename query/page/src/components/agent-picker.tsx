/**
 * "Select Agent": an editable combobox with a listbox. Before anyone types, the heaviest spenders are on top.
 * Of ten thousand agents some twenty are in the document.
 */

import { signal, useSignal, useSignalEffect } from '@preact/signals';
import { useLayoutEffect, useRef } from 'preact/hooks';
import type { AgentChoice } from '../api/types.ts';
import { copy } from '../copy/index.ts';
import { group } from '../format/number.ts';
import { phone } from '../store/clock.ts';
import { nameOf, searchAgents, whose } from '../store/facts.ts';
import { go, view } from '../store/navigation.ts';
import { workspaceId } from '../store/page.ts';
import { Icon } from './bits.tsx';

const debounceMs = 120;
/** Rows in the document beyond those in sight, above and below. */
const spareRows = 5;
const rowsInSight = 9;

/** Set by the shortcut. */
export const openPicker = signal(0);

interface Found {
  query: string;
  agents: AgentChoice[];
  total: number;
  cursor: string | null;
}

export function AgentPicker() {
  const input = useRef<HTMLInputElement>(null);
  const list = useRef<HTMLDivElement>(null);
  const open = useSignal(false);
  const typed = useSignal<string | null>(null);
  const found = useSignal<Found | null>(null);
  const failed = useSignal(false);
  const at = useSignal(0);
  const scrolled = useSignal(0);
  const rowHeight = phone.value ? 44 : 36;

  const { agent } = view.value;
  const name = whose(agent);
  const query = typed.value?.trim() ?? '';

  useSignalEffect(() => {
    if (openPicker.value) input.current?.focus();
  });

  // Searches while open, a little after the last key; a newer search drops an older one.
  useLayoutEffect(() => {
    if (!open.value) return;
    const controller = new AbortController();
    const search = async () => {
      try {
        const answer = await searchAgents(workspaceId, query, null, controller.signal);
        if (controller.signal.aborted) return;
        found.value = { query, agents: answer.agents, total: answer.total, cursor: answer.next_cursor };
        failed.value = false;
        if (list.current) list.current.scrollTop = 0;
        scrolled.value = 0;
        // Typing aims at the first match, opening at what is chosen.
        if (query) at.value = answer.agents.length ? 1 : 0;
        else at.value = Math.max(0, answer.agents.findIndex(choice => choice.id === agent) + 1);
      } catch {
        if (!controller.signal.aborted) failed.value = true;
      }
    };
    const timer = setTimeout(search, found.value ? debounceMs : 0);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [open.value, query]);

  const agents = found.value?.agents ?? [];
  // All Agents stands first, and out of the way of a search.
  const options: (AgentChoice | null)[] = query ? agents : [null, ...agents];
  const offset = query ? 1 : 0;
  const index = at.value - offset;
  const first = Math.max(0, Math.floor(scrolled.value / rowHeight) - spareRows);
  const windowed = options.slice(first, first + rowsInSight + 2 * spareRows);
  const total = (found.value?.total ?? 0) + (query ? 0 : 1);

  const loadMore = async () => {
    const before = found.value;
    if (!before?.cursor) return;
    found.value = { ...before, cursor: null };
    try {
      const page = await searchAgents(workspaceId, before.query, before.cursor);
      if (found.value?.query === before.query) {
        found.value = {
          ...before,
          agents: [...before.agents, ...page.agents],
          total: page.total,
          cursor: page.next_cursor,
        };
      }
    } catch {
      if (found.value?.query === before.query) found.value = before;
    }
  };

  const close = () => {
    open.value = false;
    typed.value = null;
    if (found.value?.query) found.value = null;
  };
  const choose = (choice: AgentChoice | null) => {
    close();
    go({ agent: choice?.id ?? null });
  };
  const moveTo = (next: number) => {
    const bounded = Math.min(options.length - 1, Math.max(0, next));
    at.value = bounded + offset;
    const element = list.current;
    if (!element) return;
    const top = bounded * rowHeight;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + rowHeight > element.scrollTop + element.clientHeight) {
      element.scrollTop = top + rowHeight - element.clientHeight;
    }
    if (bounded > options.length - rowsInSight) void loadMore();
  };

  const onKeyDown = (event: KeyboardEvent) => {
    if (!open.value && (event.key === 'ArrowDown' || event.key === 'ArrowUp')) {
      open.value = true;
    } else if (event.key === 'ArrowDown') moveTo(index + 1);
    else if (event.key === 'ArrowUp') moveTo(index - 1);
    else if (event.key === 'PageDown' && open.value) moveTo(index + rowsInSight);
    else if (event.key === 'PageUp' && open.value) moveTo(index - rowsInSight);
    else if (event.key === 'Enter' && open.value) {
      const choice = options[index];
      if (choice !== undefined) choose(choice);
    } else if (event.key === 'Escape' && open.value) close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  const optionId = (i: number) => `agent-option-${i}`;
  const status =
    failed.value && !found.value
      ? copy.agentsFailed
      : found.value && query === found.value.query
        ? found.value.total === 0 && query
          ? copy.noAgentMatches(query)
          : query
            ? copy.agentsMatch(found.value.total)
            : copy.recentCredits
        : '';

  return (
    <div class="picker">
      <label class="control combo">
        <span class="control-label" aria-hidden="true">
          {copy.agent}
        </span>
        <input
          ref={input}
          type="text"
          role="combobox"
          aria-label={copy.selectAgent}
          aria-expanded={open.value}
          aria-controls="agent-list"
          aria-autocomplete="list"
          aria-activedescendant={open.value && options.length ? optionId(index) : undefined}
          autocomplete="off"
          spellcheck={false}
          value={typed.value ?? name}
          size={Math.max(10, Math.min(24, (typed.value ?? name).length))}
          onFocus={event => event.currentTarget.select()}
          onClick={() => {
            open.value = true;
          }}
          onInput={event => {
            typed.value = event.currentTarget.value;
            open.value = true;
          }}
          onKeyDown={onKeyDown}
          onBlur={close}
        />
        <Icon name="chevron" />
      </label>
      <div class="picker-pop" hidden={!open.value}>
        <p class="muted small picker-status" role="status">
          {open.value ? status : ''}
        </p>
        <div
          class="picker-list"
          id="agent-list"
          role="listbox"
          aria-label={copy.agents}
          tabIndex={-1}
          ref={list}
          onScroll={event => {
            const element = event.currentTarget;
            scrolled.value = element.scrollTop;
            if (element.scrollTop + element.clientHeight > (options.length - spareRows) * rowHeight)
              void loadMore();
          }}
          // The field keeps the focus; a click on the list must not take it.
          onMouseDown={event => event.preventDefault()}
        >
          {open.value && (
            <div
              class="picker-rows"
              ref={rows => rows?.style.setProperty('height', `${options.length * rowHeight}px`)}
            >
              {windowed.map((choice, i) => {
                const position = first + i;
                const chosen = (choice?.id ?? null) === agent;
                return (
                  <div
                    key={choice?.id ?? ''}
                    id={optionId(position)}
                    class={position === index ? 'option current' : 'option'}
                    role="option"
                    aria-selected={chosen}
                    aria-setsize={total}
                    aria-posinset={position + 1}
                    ref={row => row?.style.setProperty('top', `${position * rowHeight}px`)}
                    onClick={() => choose(choice)}
                    onPointerMove={() => {
                      at.value = position + offset;
                    }}
                  >
                    {chosen ? <Icon name="check" /> : <span class="icon" />}
                    <bdi>{choice ? nameOf(choice) : copy.allAgents}</bdi>
                    {choice && <span class="num muted small">{group(choice.credits)}</span>}
                  </div>
                );
              })}
            </div>
          )}
        </div>
      </div>
    </div>
  );
}

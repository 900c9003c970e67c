/** What the page knows about the workspace and the names of its agents, beside the figures. */

import { signal } from '@preact/signals';
import { get } from '../api/client.ts';
import type { AgentChoices, Workspace, WorkspaceLinks } from '../api/types.ts';
import { copy } from '../copy/index.ts';

export interface AgentName {
  name: string;
  deleted: boolean;
}

export const workspaceFacts = signal<Workspace | null>(null);
/** By agent id, learned from whatever came by. */
export const agentNames = signal<ReadonlyMap<string, AgentName>>(new Map());

/** Where the page points people when nothing else is configured. */
export const defaultSupportEmail = 'support@a2v2.ai';

const retryDelaysMs = [2_000, 10_000, 60_000];

/** Facts are not worth an error of their own: the figures stand without them. */
export async function loadWorkspace(id: string) {
  for (let tries = 0; ; tries++) {
    try {
      const { data } = await get<Workspace>(`/v1/workspaces/${encodeURIComponent(id)}`);
      workspaceFacts.value = { ...data, links: webLinks(data.links) };
      return;
    } catch {
      const delay = retryDelaysMs[tries];
      if (delay === undefined) return;
      await new Promise(done => setTimeout(done, delay));
    }
  }
}

/** Only what a browser opens as a page: links are configured by others. */
function webLinks(links: WorkspaceLinks | null | undefined): WorkspaceLinks {
  return Object.fromEntries(
    Object.entries(links ?? {}).filter(([, href]) => href && /^(https?:\/)?\//i.test(href)),
  );
}

export function learnNames(agents: Iterable<{ id: string; name: string; deleted: boolean }>) {
  const known = agentNames.peek();
  let learned: Map<string, AgentName> | null = null;
  for (const { id, name, deleted } of agents) {
    const before = known.get(id);
    if (before?.name === name && before.deleted === deleted) continue;
    learned ??= new Map(known);
    learned.set(id, { name, deleted });
  }
  if (learned) agentNames.value = learned;
}

export function agentName(id: string): string {
  const known = agentNames.value.get(id);
  return known ? nameOf({ id, ...known }) : id;
}

export function nameOf({ id, name, deleted }: AgentName & { id: string }): string {
  return deleted ? copy.deleted(name || id) : name || id;
}

/** The chosen agent's name; null is all of them. */
export const whose = (agent: string | null) => (agent === null ? copy.allAgents : agentName(agent));

export async function searchAgents(
  workspace: string,
  query: string,
  cursor: string | null,
  signal?: AbortSignal,
): Promise<AgentChoices> {
  const params = new URLSearchParams({ workspace, query });
  if (cursor) params.set('cursor', cursor);
  const { data: choices } = await get<AgentChoices>(`/v1/agents?${params}`, signal ? { signal } : {});
  learnNames(choices.agents);
  return choices;
}

const lookedUp = new Set<string>();
/** Looked up, and not there: the picker lists whoever is registered or was ever used. */
export const strangers = signal<ReadonlySet<string>>(new Set());

/** An agent that a link names but that has no usage in the answer: the picker may know it. Asked once. */
export async function lookUpName(workspace: string, id: string) {
  if (agentNames.peek().has(id) || lookedUp.has(id)) return;
  lookedUp.add(id);
  try {
    const { agents, next_cursor: more } = await searchAgents(workspace, id, null);
    if (!more && !agents.some(agent => agent.id === id)) {
      strangers.value = new Set(strangers.peek()).add(id);
    }
  } catch {
    // Its id will do.
  }
}

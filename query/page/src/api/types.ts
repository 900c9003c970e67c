/**
 * The shapes that the query service answers with, by the names that the page uses. They are generated from
 * the service's own description (`npm run generate:api`); this file only shortens the names.
 *
 * Decimals and counts are strings, exact at any size: turn them into a Number only to place pixels.
 * Times are RFC 3339. The service resolves presets and bar edges; the page only formats them.
 */

import type { components } from './openapi.ts';

type Schemas = components['schemas'];

/** A decimal without exponent or trailing zeros, for example "12421.5". */
export type Decimal = Schemas['Decimal'];
/** An instant, RFC 3339. */
export type Instant = string;
/** A calendar date in the answer's time zone, YYYY-MM-DD. */
export type CivilDate = string;

export type Preset = Schemas['Preset'];
export type Grain = Schemas['Grain'];
export type Comparison = Schemas['Comparison'];

export type Dashboard = Schemas['Dashboard'];
export type UsageRange = Schemas['UsageRange'];
export type Freshness = Schemas['Freshness'];
export type Slots = Schemas['Slots'];
export type Bar = Schemas['Bar'];
export type BarAgent = Schemas['BarAgent'];
export type AgentUsage = Schemas['AgentUsage'];
export type AgentsPage = Schemas['UsageAgentsPage'];
export type AgentChoice = Schemas['AgentChoice'];
export type AgentChoices = Schemas['AgentChoices'];
export type Breakdown = Schemas['Breakdown'];
export type BreakdownBy = Schemas['BreakdownBy'];
export type LiveUpdate = Schemas['LiveUpdate'];
export type Workspace = Schemas['Workspace'];
export type WorkspaceLinks = Schemas['WorkspaceLinks'];

/** What an error answer may hold; a proxy in between may send less. */
export type Problem = Partial<Schemas['Problem']>;

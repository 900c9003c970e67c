import type { Grain } from '../api/types.ts';
import { compare, isZero } from '../format/decimal.ts';
import { group, percent } from '../format/number.ts';
import { weekdayIn } from '../format/time.ts';
import { pluralIn } from './plural.ts';

const plural = pluralIn('en');
const counted = (count: string | number, one: string, other = `${one}s`) =>
  `${group(count)} ${plural(count, { one, other })}`;
const words = (text: string, more: string) => ({ text, words: more });

/** "{}" is where something that is more than text stands: a link, a time, an address. */
export const en = {
  language: 'en',

  title: 'Usage',
  documentTitle: (of: (string | null | undefined)[]) => ['Usage', ...of].filter(Boolean).join(' · '),
  readOnly: 'Read-only. What your agents have already spent.',
  skip: 'Skip to the figures',
  close: 'Close',
  cancel: 'Cancel',
  details: 'Details',
  total: 'Total',
  messagesWord: 'Messages',
  creditsWord: 'Credits',
  shareWord: 'Share',
  changeWord: 'Change',
  comparison: 'Comparison',
  showMore: (count: number) => `Show ${group(count)} more`,

  loading: 'Loading usage…',
  stillLoading: 'Still loading…',
  loadingCancelled: 'Loading was cancelled.',
  /** For a screen reader, once a filter took effect. */
  applied: (credits: string, messages: string) =>
    `{}, {}: ${counted(credits, 'credit')}, ${counted(messages, 'message')}.`,

  allAgents: 'All Agents',
  deleted: (name: string) => `${name} (deleted)`,
  timesIn: (zone: string) => `Times in ${zone}`,
  upToDate: 'Up to date to {}',
  upToDateAgo: (ago: string) => `Up to date to {} · ${ago} ago`,
  dataBehind: (lag: string) => `Data is ${lag} behind`,
  reachUnknown: 'Not known how far the data reaches',
  /** "4 s", "6 minutes", "3 hours": rounded down, because nobody is helped by more. */
  duration(seconds: number): string {
    if (seconds < 60) return `${group(Math.max(0, Math.floor(seconds)))} s`;
    if (seconds < 3600) return counted(Math.floor(seconds / 60), 'minute');
    if (seconds < 172_800) return counted(Math.floor(seconds / 3600), 'hour');
    return counted(Math.floor(seconds / 86_400), 'day');
  },
  /** The filters as a sentence, for paper. */
  chosen: {
    compared: (what: string) => `compared with ${what.toLowerCase()}`,
    bars: (metric: 'credits' | 'messages', grain: Grain) => `${metric} by ${grain}`,
  },

  filters: 'Filters',
  done: 'Done',
  compare: 'Compare',
  interval: 'Interval',
  copyLink: 'Copy link',
  linkCopied: 'Link copied',
  copyByHand: 'Copy it from the address bar',
  downloadCsv: 'Download CSV',
  grains: { minute: 'Minute', hour: 'Hour', day: 'Day', week: 'Week', month: 'Month' },
  auto: 'Auto',
  autoGrain: (grain: Grain) => `Auto (${grain})`,
  tooManyBars: (name: string, bars: number, most: number) =>
    `${name} (${group(bars)} bars, ${group(most)} at most)`,
  comparisons: {
    none: 'None',
    prev: 'Previous period',
    prev_dow: 'Previous period by weekday',
    yoy: 'Previous year',
  },

  agent: 'Agent',
  agents: 'Agents',
  selectAgent: 'Select Agent',
  agentsFailed: 'Agents couldn’t load.',
  recentCredits: 'Credits of the last 30 days (UTC)',
  noAgentMatches: (query: string) => `No agent matches “${query}”.`,
  agentsMatch: (count: number) => counted(count, 'agent matches', 'agents match'),

  dateRange: 'Date range',
  dateRangeIs: 'Date range: ',
  earlier: 'Earlier range',
  later: 'Later range',
  presetsWord: 'Presets',
  presets: {
    today: 'Today',
    yesterday: 'Yesterday',
    '7d': 'Last 7 days',
    '30d': 'Last 30 days',
    '90d': 'Last 90 days',
    period: 'This billing period',
    previous_period: 'Previous billing period',
    mtd: 'Month to date',
    last_month: 'Last month',
  },
  custom: 'Custom',
  startDate: 'Start date',
  endDate: 'End date',
  dateForm: 'YYYY-MM-DD',
  bothIncluded: (zone: string) => `Both dates included, days in ${zone}`,
  apply: 'Apply',
  previousMonth: 'Previous month',
  nextMonth: 'Next month',
  endBeforeStart: 'End date is before start date.',
  unreadDate: 'Enter a date as YYYY-MM-DD.',

  summary: 'Summary',
  creditsThisPeriod: 'Credits used this period',
  creditsUsed: 'Credits used',
  messagesAnswered: 'Messages answered',
  chatbotsUsed: 'Chatbots used',
  membersUsed: 'Team members used',
  atLeast: 'At least',
  spendNotBalance: 'Spend, not your remaining balance.',
  seeBilling: 'See Billing',
  perMessage: '{} credits per message',
  thisAgent: '· this agent',
  wholeWorkspace: 'Whole workspace',
  of: (available: number) => `of ${group(available)}`,
  usedOf: (used: number, available: number) => `${group(used)} of ${group(available)}`,
  notKnownBefore: 'not known before',
  nothingBefore: 'nothing before',
  from: (before: string) => `from ${group(before)}`,
  slots: {
    none: 'No slot limit',
    unknown: 'How many slots there were is not known',
    left: (left: number) => (left === 0 ? 'No slot left' : `${counted(left, 'slot')} left`),
  },
  seats: {
    none: 'No seat limit',
    unknown: 'How many seats there were is not known',
    left: (left: number) => (left === 0 ? 'No seat left' : `${counted(left, 'seat')} left`),
  },
  overLimit: (count: number) => `${group(count)} over the limit`,

  change: {
    same: words('No change', 'no change'),
    new: words('New', 'new, nothing before'),
    unknown: words('—', 'cannot be compared'),
    up: (size: string, less: boolean) => `up ${less ? 'less than ' : ''}${size} percent`,
    down: (size: string, less: boolean) => `down ${less ? 'less than ' : ''}${size} percent`,
  },

  /** The answer to "which agent was it?", word for word what the service's own sentence says. */
  drove(name: string, credits: string, whole: string, wholePercent: string): string {
    const share = isZero(wholePercent)
      ? `under ${percent('1', 0)}`
      : wholePercent === '100' && compare(credits, whole) < 0
        ? `over ${percent('99', 0)}`
        : percent(wholePercent, 0);
    return `${name} drove ${share} of credits in this range (${group(credits)} of ${group(whole)}).`;
  },
  /** A rise of null percent is one from nothing. */
  rose(name: string, credits: string, wholePercent: string | null): string {
    const change =
      wholePercent === null
        ? 'new'
        : isZero(wholePercent)
          ? `under +${percent('1', 0)}`
          : `+${percent(wholePercent, 0)}`;
    return `Biggest rise: ${name}, +${group(credits)} (${change}).`;
  },

  emptyTitle: 'No usage data for this period',
  emptyText:
    'Usage appears once your live, embedded agents have answered messages in this range. ' +
    'Testing in the Playground doesn’t draw credits, so it won’t show here.',
  emptyWiden: 'Widen to last 90 days',
  emptyConfirm: 'Confirm the agent is public and embedded.',
  lastUsage: 'Last usage was on {}.',
  goThere: 'Go there',
  playground: (count: string) =>
    `${counted(count, 'Playground message')} in this range ${plural(count, { one: 'was', other: 'were' })} not counted.`,
  agentUnused: (agent: string, credits: string) =>
    `${agent} has no usage in this period. Other agents used ${counted(credits, 'credit')}.`,
  showAll: 'Show All Agents',

  errorTitle: 'Usage couldn’t load for this range',
  tooLongToLookBehind:
    'What is behind these figures can be looked up for at most 400 days. Choose a shorter range.',
  errorText:
    'A temporary hiccup can stop a range from loading. Re-apply the date range or reload the page to retry. ' +
    'If it persists, contact {}.',
  tryAgain: 'Try again',
  showThisPeriod: 'Show this billing period',
  reference: (id: string) => `Reference: ${id}`,

  figuresFrom: 'Showing figures from {}.',
  figuresFor: 'They are for {}, {}.',
  offline: 'You’re offline.',
  unsteady: 'The connection is unsteady.',
  partial: (span: string) =>
    `Some usage for ${span} hasn’t been counted yet. Totals are at least what’s shown.`,
  thisRange: 'this range',
  spans: (spans: string[], more: number) =>
    spans.join(' and ') + (more > 0 ? ` and ${group(more)} more` : ''),
  behindText: 'New usage will appear when processing catches up.',
  sessionEnded: 'Your session has ended.',
  signIn: 'Sign in again',
  agentUnknown: 'This agent isn’t in your workspace.',
  workspaceUnknown: 'This workspace isn’t available to you.',
  forbidden: 'You don’t have access to this workspace’s usage.',
  tooMany: (seconds: number) => `Too many requests. Retrying in ${group(seconds)} s.`,

  unreadDates: 'We couldn’t read the dates in this link, so we’re showing this billing period.',
  unreadOther: 'We couldn’t read some of the settings in this link, so we’re showing the defaults for those.',
  grainChanged: (grain: Grain) => `That interval needs more than 400 bars, so we’re showing it by ${grain}.`,

  chart: { credits: 'Credit usage', messages: 'Message usage' },
  plot: {
    credits: (grain: Grain) => `Credits by ${grain}`,
    messages: (grain: Grain) => `Messages by ${grain}`,
  },
  plotHelp:
    'Arrow keys move by one bar, Page Up and Page Down by seven. Enter pins a bar, Enter again goes into it. ' +
    'Shift and arrows select, Z zooms, Escape clears.',
  hiddenAgents: (count: number) => `(${counted(count, 'agent')} hidden)`,
  zoomOut: 'Zoom out',
  measure: 'Measure',
  bars: 'Bars',
  byAgent: 'By agent',
  shownInChart: 'Shown in the chart',
  showTable: 'Show data as a table',
  hideTable: 'Hide the table',
  inProgressKey: 'In progress, so far',
  everyAgent: 'All agents',
  other: (count: number) => `Other (${counted(count, 'agent')})`,
  unit: {
    credits: (count: string | null) =>
      count === null ? 'credits' : plural(count, { one: 'credit', other: 'credits' }),
    messages: (count: string | null) =>
      count === null ? 'messages' : plural(count, { one: 'message', other: 'messages' }),
  },
  /** What is not final about a bar. */
  state: {
    in_progress: 'In progress: so far',
    settling: 'May still rise',
    missing: 'No data recorded',
    future: 'Not begun yet',
  },
  unknownBar: 'unknown',
  previously: (value: string, change: string) => `${value} before, ${change}`,
  within: { hour: 'See minutes', day: 'See hours', week: 'See days', month: 'See days' },
  only: (agent: string) => `Only ${agent}`,

  figuresOfChart: 'Figures of the chart',
  usageBy: (grain: Grain, range: string, zone: string) => `Usage by ${grain}, ${range}, times in ${zone}`,
  date: 'Date',
  time: 'Time',
  note: 'Note',
  totalAtLeast: 'Total, at least',
  previousRows: (count: number) => `Previous ${group(count)}`,
  nextRows: (count: number) => `Next ${group(count)}`,
  rows: (first: number, last: number, of: number) => `Rows ${group(first)}–${group(last)} of ${group(of)}`,

  unusual: 'Unusual usage',
  zoom: 'Zoom',
  spike: {
    day: (when: string, credits: string, times: string, start: string, zone: string) =>
      `${when}: ${counted(credits, 'credit')}, ${group(times, 1)}× a usual ${weekdayIn('en', start, zone)}.`,
    hour: (when: string, credits: string, times: string) =>
      `${when}: ${counted(credits, 'credit')}, ${group(times, 1)}× a usual hour.`,
  },
  spikeFrom: (share: string, agent: string) => `${share} from ${agent}.`,

  board: 'Agents by usage',
  boardCaption: 'Agents by usage, the most credits first unless sorted otherwise',
  withUsage: (count: number) => `${counted(count, 'agent')} with usage`,
  rank: 'Rank',
  creditsPerMessage: 'Credits per message',
  trend: 'Trend',
  showOnly: (agent: string) => `Show only ${agent}`,
  showAllNotOnly: (agent: string) => `Show All Agents, not only ${agent}`,
  nextAgentsFailed: 'The next agents couldn’t load. Try again.',
  detailsOf: (name: string) => `Details of ${name}`,

  behindTitle: 'What is behind it',
  behind: {
    channel: { title: 'By channel', column: 'Channel', unnamed: 'No channel given' },
    model: { title: 'By model', column: 'Model', unnamed: 'No model given' },
    conversation: {
      title: 'Conversations that spent most',
      column: 'Conversation',
      unnamed: 'No conversation given',
    },
  },
  rest: (count: number) => `Other (${group(count)})`,
  partialTotal: 'Some of it hasn’t been counted yet: at least',

  totalsMatch: 'Totals match {}',
  recordedEvents: (count: string) => counted(count, 'recorded event'),
  needBalance: 'Need your balance or next billing date? {}.',
  openBilling: 'Open Billing',
  balanceQuestion: 'Why doesn’t this match my balance on Billing?',
  balanceAnswer: [
    'Usage shows the credits your agents have spent. Billing shows the credits you have remaining.',
    'Your balance also depends on plan refills and top-ups, which aren’t usage, so the two figures are not meant to be equal.',
  ],
  related: 'Related',
  links: {
    credits_explained: 'Credits explained',
    auto_recharge: 'Auto-recharge',
    plans: 'Plans',
    agent_analytics: 'Agent Analytics',
  },

  shortcuts: 'Keyboard shortcuts',
  shortcutsUse: 'Use single letters as shortcuts',
  keys: {
    agent: 'Choose an agent',
    dates: 'Choose dates',
    metric: 'Credits or messages',
    table: 'Show or hide the table',
    help: 'This list',
  },
};

export type Catalogue = typeof en;

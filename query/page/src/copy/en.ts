/** The words that the page says in its states, in one place so that they can be read and tested as a whole. */

export const copy = {
  readOnly: 'Read-only. What your agents have already spent.',
  spendNotBalance: 'Spend, not your remaining balance.',
  loading: 'Loading usage…',
  stillLoading: 'Still loading…',
  loadingCancelled: 'Loading was cancelled.',

  emptyTitle: 'No usage data for this period',
  emptyText:
    'Usage appears once your live, embedded agents have answered messages in this range. ' +
    'Testing in the Playground doesn’t draw credits, so it won’t show here.',
  emptyWiden: 'Widen to last 90 days',
  emptyConfirm: 'Confirm the agent is public and embedded.',
  lastUsage: (date: string) => `Last usage was on ${date}.`,
  goThere: 'Go there',
  playground: (count: string) =>
    `${count} Playground ${count === '1' ? 'message' : 'messages'} in this range ${count === '1' ? 'was' : 'were'} not counted.`,
  agentUnused: (agent: string, credits: string) =>
    `${agent} has no usage in this period. Other agents used ${credits} ${credits === '1' ? 'credit' : 'credits'}.`,
  showAll: 'Show All Agents',

  errorTitle: 'Usage couldn’t load for this range',
  tooLongToLookBehind:
    'What is behind these figures can be looked up for at most 400 days. Choose a shorter range.',
  /** Followed by the address to write to, and a full stop. */
  errorText:
    'A temporary hiccup can stop a range from loading. Re-apply the date range or reload the page to retry. ' +
    'If it persists, contact ',
  tryAgain: 'Try again',
  reference: (id: string) => `Reference: ${id}`,

  figuresFrom: (time: string) => `Showing figures from ${time}.`,
  offline: 'You’re offline.',
  unsteady: 'The connection is unsteady.',
  partial: (span: string) =>
    `Some usage for ${span} hasn’t been counted yet. Totals are at least what’s shown.`,
  behind: (lag: string) => `Data is ${lag} behind.`,
  behindText: 'New usage will appear when processing catches up.',
  sessionEnded: 'Your session has ended.',
  signIn: 'Sign in again',
  agentUnknown: 'This agent isn’t in your workspace.',
  workspaceUnknown: 'This workspace isn’t available to you.',
  forbidden: 'You don’t have access to this workspace’s usage.',
  tooMany: (seconds: number) => `Too many requests. Retrying in ${seconds} s.`,

  unreadDates: 'We couldn’t read the dates in this link, so we’re showing this billing period.',
  unreadOther: 'We couldn’t read some of the settings in this link, so we’re showing the defaults for those.',
  grainChanged: (interval: string) =>
    `That interval needs more than 400 bars, so we’re showing it by ${interval}.`,

  endBeforeStart: 'End date is before start date.',
  unreadDate: 'Enter a date as YYYY-MM-DD.',

  behindTitle: 'What is behind it',
  unnamed: { channel: 'No channel given', model: 'No model given', conversation: 'No conversation given' },
  atLeast: 'Some of it hasn’t been counted yet: at least',

  noData: 'No data recorded',
  soFar: 'so far',
  mayRise: 'May still rise',

  balanceQuestion: 'Why doesn’t this match my balance on Billing?',
  balanceAnswer: [
    'Usage shows the credits your agents have spent. Billing shows the credits you have remaining.',
    'Your balance also depends on plan refills and top-ups, which aren’t usage, so the two figures are not meant to be equal.',
  ],
} as const;

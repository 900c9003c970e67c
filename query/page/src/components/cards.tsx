import type { ComponentChildren } from 'preact';
import type { Dashboard, Slots } from '../api/types.ts';
import { type Catalogue, copy } from '../copy/index.ts';
import { change } from '../format/change.ts';
import { group, perMessage } from '../format/number.ts';
import { workspaceFacts } from '../store/facts.ts';
import { shownView } from '../store/page.ts';
import { Bone, ChangeMark, fill } from './bits.tsx';

export function Cards({ data }: { data: Dashboard | null }) {
  const { range, agent, compare } = shownView.value;
  const thisPeriod = range.kind === 'preset' && range.preset === 'period';
  const facts = workspaceFacts.value;
  const atLeast = data?.completeness === 'partial';
  const previous = data?.summary.previous ?? null;
  const compared = (metric: 'credits' | 'messages') => {
    if (!data || compare === 'none') return null;
    const before = previous?.[metric] ?? null;
    const moved = change(data.summary[metric], before);
    const from =
      before === null ? copy.notKnownBefore : moved.kind === 'new' ? copy.nothingBefore : copy.from(before);
    return (
      <p class="delta">
        <ChangeMark change={moved} /> <span class="muted">{from}</span>
      </p>
    );
  };

  return (
    <section
      class={`cards${compare === 'none' ? '' : ' compared'}${thisPeriod ? ' this-period' : ''}`}
      aria-label={copy.summary}
    >
      <Card
        title={thisPeriod ? copy.creditsThisPeriod : copy.creditsUsed}
        figure={data && <Figure id="credits-used" value={data.summary.credits} atLeast={atLeast} />}
      >
        {compared('credits')}
        <p class="muted small">
          {copy.spendNotBalance} <BillingLink text={copy.seeBilling} />
        </p>
      </Card>
      <Card
        title={copy.messagesAnswered}
        figure={data && <Figure id="messages-answered" value={data.summary.messages} atLeast={atLeast} />}
      >
        {compared('messages')}
        {data && data.summary.messages !== '0' && (
          <p class="muted small">
            {fill(
              copy.perMessage,
              <span class="num">{perMessage(data.summary.credits, data.summary.messages)}</span>,
            )}
          </p>
        )}
      </Card>
      <Card
        title={copy.chatbotsUsed}
        figure={
          data && (
            <>
              <SlotFigure id="chatbots-used" slots={data.summary.chatbots} />
              {agent !== null && <span class="of"> {copy.thisAgent}</span>}
            </>
          )
        }
      >
        {data && <Meter label={copy.chatbotsUsed} slots={data.summary.chatbots} />}
        {data && agent === null && (
          <p class="muted small">{left(data.summary.chatbots, copy.slots, facts?.agent_slots)}</p>
        )}
      </Card>
      <Card
        title={copy.membersUsed}
        tag={agent !== null ? copy.wholeWorkspace : undefined}
        figure={data && <SlotFigure id="team-members-used" slots={data.summary.team_members} />}
      >
        {data && <Meter label={copy.membersUsed} slots={data.summary.team_members} />}
        {data && <p class="muted small">{left(data.summary.team_members, copy.seats, facts?.seats)}</p>}
      </Card>
    </section>
  );
}

interface CardProps {
  title: string;
  tag?: string | undefined;
  figure: ComponentChildren;
  children: ComponentChildren;
}

function Card({ title, tag, figure, children }: CardProps) {
  return (
    <article class="card stat">
      <h2>
        {title} {tag && <span class="tag">{tag}</span>}
      </h2>
      <p class="figure">{figure ?? <Bone kind="tall" />}</p>
      {figure ? children : <Bone kind="text" />}
    </article>
  );
}

/** Figures of many digits are set smaller, so that they stay on one line. */
const sizeOf = ({ length }: string) =>
  length > 19 ? 'longest' : length > 13 ? 'long' : length > 9 ? 'mid' : '';

function Figure({ id, value, atLeast }: { id: string; value: string; atLeast: boolean }) {
  const text = group(value);
  return (
    <>
      {atLeast && <span class="at-least">{copy.atLeast} </span>}
      <span class={`num ${sizeOf(text)}`} data-testid={id}>
        {text}
      </span>
    </>
  );
}

function SlotFigure({ id, slots }: { id: string; slots: Slots }) {
  return (
    <span class="num" data-testid={id}>
      {group(slots.used)}
      {slots.available !== null && <span class="of"> {copy.of(slots.available)}</span>}
    </span>
  );
}

/** `limitNow` tells no limit from one that is not known for the range's end. */
function left(
  { used, available }: Slots,
  words: Catalogue['slots'],
  limitNow: number | null | undefined,
): string {
  if (available === null) {
    return limitNow === null ? words.none : words.unknown;
  }
  const free = available - used;
  return free < 0 ? copy.overLimit(-free) : words.left(free);
}

function Meter({ label, slots: { used, available } }: { label: string; slots: Slots }) {
  if (available === null) return <div class="meter none" />;
  const part = available > 0 ? Math.min(1, used / available) : used > 0 ? 1 : 0;
  return (
    <div
      class={used > available ? 'meter over' : 'meter'}
      role="meter"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={Math.max(available, used, 1)}
      aria-valuenow={used}
      aria-valuetext={copy.usedOf(used, available)}
    >
      <svg width="100%" height="6" aria-hidden="true">
        <rect width={`${part * 100}%`} height="6" rx="3" />
      </svg>
    </div>
  );
}

export function BillingLink({ text }: { text: string }) {
  const href = workspaceFacts.value?.links?.billing;
  return href ? (
    <a href={href} target="_top">
      {text}
    </a>
  ) : null;
}

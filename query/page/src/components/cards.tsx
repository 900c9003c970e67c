import type { ComponentChildren } from 'preact';
import type { Dashboard, Slots } from '../api/types.ts';
import { copy } from '../copy.ts';
import { group } from '../format/decimal.ts';
import { change, perMessage } from '../format/number.ts';
import { workspaceFacts } from '../store/facts.ts';
import { shownView } from '../store/page.ts';
import { Bone, ChangeMark } from './bits.tsx';

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
      before === null
        ? 'not known before'
        : moved.kind === 'new'
          ? 'nothing before'
          : `from ${group(before)}`;
    return (
      <p class="delta">
        <ChangeMark change={moved} /> <span class="muted">{from}</span>
      </p>
    );
  };

  return (
    <section class={compare === 'none' ? 'cards' : 'cards compared'} aria-label="Summary">
      <Card
        title={thisPeriod ? 'Credits used this period' : 'Credits used'}
        figure={data && <Figure id="credits-used" value={data.summary.credits} atLeast={atLeast} />}
      >
        {compared('credits')}
        <p class="muted small">
          {copy.spendNotBalance} <BillingLink text="See Billing" />
        </p>
      </Card>
      <Card
        title="Messages answered"
        figure={data && <Figure id="messages-answered" value={data.summary.messages} atLeast={atLeast} />}
      >
        {compared('messages')}
        {data && (
          <p class="muted small">
            <span class="num">{perMessage(data.summary.credits, data.summary.messages)}</span> credits per
            message
          </p>
        )}
      </Card>
      <Card
        title="Chatbots used"
        figure={
          data && (
            <>
              <SlotFigure id="chatbots-used" slots={data.summary.chatbots} />
              {agent !== null && <span class="of"> · this agent</span>}
            </>
          )
        }
      >
        {data && <Meter label="Chatbots used" slots={data.summary.chatbots} />}
        {data && agent === null && (
          <p class="muted small">{slotsLeft(data.summary.chatbots, 'slot', facts?.agent_slots)}</p>
        )}
      </Card>
      <Card
        title="Team members used"
        tag={agent !== null ? 'Whole workspace' : undefined}
        figure={data && <SlotFigure id="team-members-used" slots={data.summary.team_members} />}
      >
        {data && <Meter label="Team members used" slots={data.summary.team_members} />}
        {data && <p class="muted small">{slotsLeft(data.summary.team_members, 'seat', facts?.seats)}</p>}
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

function Figure({ id, value, atLeast }: { id: string; value: string; atLeast: boolean }) {
  const text = group(value);
  return (
    <>
      {atLeast && <span class="at-least">At least </span>}
      <span class={`num${text.length > 19 ? ' longest' : text.length > 13 ? ' long' : ''}`} data-testid={id}>
        {text}
      </span>
    </>
  );
}

function SlotFigure({ id, slots }: { id: string; slots: Slots }) {
  return (
    <span class="num" data-testid={id}>
      {group(String(slots.used))}
      {slots.available !== null && <span class="of"> of {group(String(slots.available))}</span>}
    </span>
  );
}

/** `limitNow` tells no limit from one that is not known for the range's end. */
function slotsLeft({ used, available }: Slots, unit: string, limitNow: number | null | undefined): string {
  if (available === null) {
    return limitNow === null ? `No ${unit} limit` : `How many ${unit}s there were is not known`;
  }
  const left = available - used;
  if (left < 0) return `${-left} over the limit`;
  return left === 0 ? `No ${unit} left` : `${group(String(left))} ${unit}${left === 1 ? '' : 's'} left`;
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
      aria-valuetext={`${used} of ${available}`}
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

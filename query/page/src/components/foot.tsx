import type { Dashboard } from '../api/types.ts';
import { copy } from '../copy.ts';
import { group } from '../format/decimal.ts';
import { workspaceFacts } from '../store/facts.ts';
import { shownView, workspaceId } from '../store/page.ts';
import { usageParams } from '../store/view.ts';
import { BillingLink } from './cards.tsx';
import { ShortcutsButton } from './shortcuts.tsx';

const related = [
  ['credits_explained', 'Credits explained'],
  ['auto_recharge', 'Auto-recharge'],
  ['plans', 'Plans'],
  ['agent_analytics', 'Agent Analytics'],
] as const;

export function Foot({ data }: { data: Dashboard | null }) {
  const links = workspaceFacts.value?.links ?? {};
  const events = data?.recorded_events;
  return (
    <footer class="foot">
      {events && (
        <p>
          Totals match{' '}
          <a href={`usage/proof?${usageParams(workspaceId, shownView.value)}`}>
            <span class="num">{group(events)}</span> recorded {events === '1' ? 'event' : 'events'}
          </a>
        </p>
      )}
      {links.billing && (
        <p>
          Need your balance or next billing date? <BillingLink text="Open Billing" />.
        </p>
      )}
      <details>
        <summary>{copy.balanceQuestion}</summary>
        {copy.balanceAnswer.map(text => (
          <p key={text}>{text}</p>
        ))}
      </details>
      <p>
        <ShortcutsButton />
      </p>
      <nav aria-label="Related">
        {related.map(([key, label]) => {
          const href = links[key];
          return href ? (
            <a key={key} href={href} target="_top">
              {label}
            </a>
          ) : null;
        })}
      </nav>
    </footer>
  );
}

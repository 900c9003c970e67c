import type { Dashboard } from '../api/types.ts';
import { copy } from '../copy/index.ts';
import { workspaceFacts } from '../store/facts.ts';
import { shownView, workspaceId } from '../store/page.ts';
import { usageParams } from '../store/view.ts';
import { fill } from './bits.tsx';
import { BillingLink } from './cards.tsx';
import { ShortcutsButton } from './shortcuts.tsx';

const related = ['credits_explained', 'auto_recharge', 'plans', 'agent_analytics'] as const;

export function Foot({ data }: { data: Dashboard | null }) {
  const links = workspaceFacts.value?.links ?? {};
  const events = data?.recorded_events;
  return (
    <footer class="foot">
      {events && (
        <p>
          {fill(
            copy.totalsMatch,
            <a class="num" href={`usage/proof?${usageParams(workspaceId, shownView.value)}`}>
              {copy.recordedEvents(events)}
            </a>,
          )}
        </p>
      )}
      {links.billing && <p>{fill(copy.needBalance, <BillingLink text={copy.openBilling} />)}</p>}
      <details>
        <summary>{copy.balanceQuestion}</summary>
        {copy.balanceAnswer.map(text => (
          <p key={text}>{text}</p>
        ))}
      </details>
      <nav aria-label={copy.related}>
        {related.map(key => {
          const href = links[key];
          return href ? (
            <a key={key} href={href} target="_top">
              {copy.links[key]}
            </a>
          ) : null;
        })}
        <ShortcutsButton />
      </nav>
    </footer>
  );
}

import type { Dashboard } from '../api/types.ts';
import { copy } from '../copy/index.ts';
import { isolated } from '../format/isolate.ts';
import { Bone } from './bits.tsx';

/** The answer to "which agent was it?", in one sentence: the service found it, the page says it. */
export function answerIn({ driver, rise }: Pick<Dashboard['insights'], 'driver' | 'rise'>): string {
  if (!driver) return '';
  const { credits, workspace_credits: whole, percent } = driver;
  const drove = copy.drove(isolated(driver.name), credits, whole, percent);
  return rise ? `${drove} ${copy.rose(isolated(rise.name), rise.credits, rise.percent)}` : drove;
}

export function Sentence({ data }: { data: Dashboard | null }) {
  if (!data)
    return (
      <p class="sentence">
        <Bone kind="line" />
      </p>
    );
  const text = answerIn(data.insights);
  return text ? <p class="sentence">{text}</p> : null;
}

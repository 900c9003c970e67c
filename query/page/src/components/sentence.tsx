import type { Dashboard } from '../api/types.ts';
import { Bone } from './bits.tsx';

/** The service's own answer to "which agent was it?", in one sentence. */
export function Sentence({ data }: { data: Dashboard | null }) {
  if (!data)
    return (
      <p class="sentence">
        <Bone kind="line" />
      </p>
    );
  return data.insights.sentence ? <p class="sentence">{data.insights.sentence}</p> : null;
}

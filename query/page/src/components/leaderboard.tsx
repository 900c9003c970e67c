import { useSignal } from '@preact/signals';
import type { Dashboard } from '../api/types.ts';
import { unitOf } from '../chart/describe.ts';
import { spark } from '../chart/geometry.ts';
import { otherColour, topAgents } from '../chart/series.ts';
import { copy } from '../copy.ts';
import { group, isZero } from '../format/decimal.ts';
import { change, perMessage } from '../format/number.ts';
import { useBoard } from '../store/board.ts';
import { agentName } from '../store/facts.ts';
import { go, lookBehind, view } from '../store/navigation.ts';
import { colours, shownView } from '../store/page.ts';
import type { SortKey } from '../store/view.ts';
import { Bone, ChangeMark, Icon, ShareBar, Swatch } from './bits.tsx';

const step = 50;

interface Column {
  key: SortKey;
  label: string;
  class: string;
}

const columns: Column[] = [
  { key: 'name', label: 'Agent', class: 'agent' },
  { key: 'credits', label: 'Credits', class: 'number' },
  { key: 'share', label: 'Share', class: 'share' },
  { key: 'messages', label: 'Messages', class: 'number wide' },
  { key: 'rate', label: 'Credits per message', class: 'number wide' },
  { key: 'change', label: 'Change', class: 'number wide' },
];

export function Leaderboard({ data }: { data: Dashboard | null }) {
  const { sort } = view.value;
  const { agent: only, compare: comparison } = shownView.value;
  const compared = comparison !== 'none';
  const shown = useSignal(step);
  const { rows, total, failed, loadMore } = useBoard(data, sort);
  const showMore = () => {
    shown.value += step;
    if (shown.value > rows.length) void loadMore();
  };

  const sortBy = (key: SortKey) => {
    const descending = sort.key === key ? !sort.descending : key !== 'name';
    go({ sort: { key, descending } });
  };

  // What has not begun would draw every line down to zero.
  const begun = data?.series.filter(bar => bar.state !== 'future').length ?? 0;
  const onChart = data ? topAgents(data) : [];
  const visible = columns.filter(column => column.key !== 'change' || compared);

  return (
    <section class="card board" aria-labelledby="board-title">
      <div class="card-head">
        <h2 id="board-title">Agents by usage</h2>
        {data && data.agents_total > 0 && (
          <span class="muted small">
            {group(String(data.agents_total))} {data.agents_total === 1 ? 'agent' : 'agents'} with usage
          </span>
        )}
      </div>
      <table class="leaderboard">
        <caption class="sr">Agents by usage, the most credits first unless sorted otherwise</caption>
        <thead>
          <tr>
            <th scope="col" class="rank">
              <span class="sr">Rank</span>
              <span aria-hidden="true">#</span>
            </th>
            {visible.map(column => (
              <th
                scope="col"
                key={column.key}
                class={column.class}
                aria-sort={
                  sort.key === column.key ? (sort.descending ? 'descending' : 'ascending') : undefined
                }
              >
                <button type="button" onClick={() => sortBy(column.key)}>
                  {column.label}
                  <Icon name="chevron" />
                </button>
              </th>
            ))}
            <th scope="col" class="trend wide">
              Trend
            </th>
            <th scope="col" class="behind">
              <span class="sr">{copy.behindTitle}</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {!data ? (
            <SkeletonRows columns={visible.length} />
          ) : (
            <>
              <tr class="all">
                <td class="rank" />
                <th scope="row" class="agent">
                  {only === null ? 'All agents' : 'Total'}
                </th>
                <td class="number">{group(data.summary.credits)}</td>
                <td class="share">
                  <ShareBar percent={data.agents.length ? '100' : '0'} used={data.agents.length > 0} />
                </td>
                <td class="number wide">{group(data.summary.messages)}</td>
                <td class="number wide">{perMessage(data.summary.credits, data.summary.messages)}</td>
                {compared && (
                  <td class="number wide">
                    <ChangeMark
                      change={change(data.summary.credits, data.summary.previous?.credits ?? null)}
                    />
                  </td>
                )}
                <td class="trend wide">
                  <Spark values={data.series.slice(0, begun).map(bar => bar.credits ?? '0')} />
                </td>
                <BehindCell
                  name={only === null ? 'All Agents' : agentName(only)}
                  onClick={() => lookBehind({ kind: 'range' })}
                />
              </tr>
              {rows.slice(0, shown.value).map(({ agent, rank }) => (
                <tr key={agent.id}>
                  <td class="rank">{rank}</td>
                  <th scope="row" class="agent">
                    <button
                      type="button"
                      onClick={() => go({ agent: only === agent.id ? null : agent.id })}
                      title={`${only === agent.id ? 'Show All Agents, not only' : 'Show only'} ${agentName(agent.id)}`}
                    >
                      <Swatch
                        colour={
                          onChart.includes(agent.id)
                            ? (colours.value.get(agent.id) ?? otherColour)
                            : otherColour
                        }
                      />
                      <bdi>{agentName(agent.id)}</bdi>
                    </button>
                    <span class="narrow muted small">
                      {group(agent.messages)} {unitOf('messages', agent.messages)}
                    </span>
                  </th>
                  <td class="number">
                    {group(agent.credits)}
                    {compared && (
                      <span class="narrow small">
                        <ChangeMark change={change(agent.credits, agent.previous_credits)} />
                      </span>
                    )}
                  </td>
                  <td class="share">
                    <ShareBar percent={agent.share} used={!isZero(agent.credits)} />
                  </td>
                  <td class="number wide">{group(agent.messages)}</td>
                  <td class="number wide">{perMessage(agent.credits, agent.messages)}</td>
                  {compared && (
                    <td class="number wide">
                      <ChangeMark change={change(agent.credits, agent.previous_credits)} />
                    </td>
                  )}
                  <td class="trend wide">
                    <Spark values={agent.spark.slice(0, begun)} />
                  </td>
                  <BehindCell
                    name={agentName(agent.id)}
                    onClick={() => lookBehind({ kind: 'agent', id: agent.id })}
                  />
                </tr>
              ))}
            </>
          )}
        </tbody>
      </table>
      {shown.value < total && (
        <p class="more">
          <button type="button" class="button" onClick={showMore}>
            Show {Math.min(step, total - shown.value)} more
          </button>
          {failed && <span class="muted"> The next agents couldn’t load. Try again.</span>}
        </p>
      )}
      {only !== null && data && (
        <p class="more">
          <button type="button" class="link" onClick={() => go({ agent: null })}>
            Show All Agents
          </button>
        </p>
      )}
    </section>
  );
}

const BehindCell = ({ name, onClick }: { name: string; onClick: () => void }) => (
  <td class="behind">
    <button
      type="button"
      class="link small"
      aria-label={`Details of ${name}`}
      aria-haspopup="dialog"
      onClick={onClick}
    >
      <span class="word">Details</span>
      <Icon name="right" />
    </button>
  </td>
);

function Spark({ values }: { values: string[] }) {
  return (
    <svg class="spark" width="88" height="22" aria-hidden="true">
      <path d={spark(values, { width: 88, height: 22 })} />
    </svg>
  );
}

function SkeletonRows({ columns }: { columns: number }) {
  return Array.from({ length: 8 }, (_, index) => (
    <tr key={index}>
      <td class="rank" />
      <th scope="row" class="agent" colSpan={columns + 2}>
        <Bone kind="line" />
      </th>
    </tr>
  ));
}

import { useSignal } from '@preact/signals';
import type { Dashboard } from '../api/types.ts';
import { spark } from '../chart/geometry.ts';
import { otherColour, topAgents } from '../chart/series.ts';
import { copy } from '../copy/index.ts';
import { change } from '../format/change.ts';
import { isZero } from '../format/decimal.ts';
import { group, perMessage, share } from '../format/number.ts';
import { useBoard } from '../store/board.ts';
import { agentName, whose } from '../store/facts.ts';
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
  { key: 'name', label: copy.agent, class: 'agent' },
  { key: 'credits', label: copy.creditsWord, class: 'number' },
  { key: 'share', label: copy.shareWord, class: 'share wide' },
  { key: 'messages', label: copy.messagesWord, class: 'number wide' },
  { key: 'rate', label: copy.creditsPerMessage, class: 'number rate wide' },
  { key: 'change', label: copy.changeWord, class: 'number wide' },
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

  // What has not begun, or only just, would draw every line down to zero.
  const over = data?.series.filter(bar => bar.state !== 'future' && bar.state !== 'in_progress').length ?? 0;
  const onChart = data ? topAgents(data) : [];
  const visible = columns.filter(column => column.key !== 'change' || compared);

  return (
    <section class="card board" aria-labelledby="board-title">
      <div class="card-head">
        <h2 id="board-title">{copy.board}</h2>
        {data && data.agents_total > 0 && (
          <span class="muted small">{copy.withUsage(data.agents_total)}</span>
        )}
      </div>
      <table class="leaderboard">
        <caption class="sr">{copy.boardCaption}</caption>
        <thead>
          <tr>
            <th scope="col" class="rank">
              <span class="sr">{copy.rank}</span>
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
              {copy.trend}
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
                  <bdi>{only === null ? copy.everyAgent : copy.total}</bdi>
                  <span class="narrow muted small">
                    {group(data.summary.messages)} {copy.unit.messages(data.summary.messages)}
                  </span>
                </th>
                <td class="number">{group(data.summary.credits)}</td>
                <td class="share wide">
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
                  <Spark values={data.series.slice(0, over).map(bar => bar.credits)} />
                </td>
                <BehindCell name={whose(only)} onClick={() => lookBehind({ kind: 'range' })} />
              </tr>
              {rows.slice(0, shown.value).map(({ agent, rank }) => (
                <tr key={agent.id}>
                  <td class="rank">{rank}</td>
                  <th scope="row" class="agent">
                    <button
                      type="button"
                      onClick={() => go({ agent: only === agent.id ? null : agent.id })}
                      title={(only === agent.id ? copy.showAllNotOnly : copy.showOnly)(agentName(agent.id))}
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
                      {share(agent.share, !isZero(agent.credits))} · {group(agent.messages)}{' '}
                      {copy.unit.messages(agent.messages)}
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
                  <td class="share wide">
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
                    <Spark values={agent.spark.slice(0, over)} />
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
            {copy.showMore(Math.min(step, total - shown.value))}
          </button>
          {failed && <span class="muted"> {copy.nextAgentsFailed}</span>}
        </p>
      )}
      {only !== null && data && (
        <p class="more">
          <button type="button" class="link" onClick={() => go({ agent: null })}>
            {copy.showAll}
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
      aria-label={copy.detailsOf(name)}
      aria-haspopup="dialog"
      onClick={onClick}
    >
      <span class="word">{copy.details}</span>
      <Icon name="right" />
    </button>
  </td>
);

function Spark({ values }: { values: (string | null)[] }) {
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
      <td class="agent" colSpan={columns + 2}>
        <Bone kind="line" />
      </td>
    </tr>
  ));
}

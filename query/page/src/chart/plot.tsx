/**
 * The bars, and every way to reach one: pointer, touch, keyboard, screen reader. The plot is one stop in the
 * tab order, a slider whose value text is the whole bar.
 */

import { useSignal } from '@preact/signals';
import { useLayoutEffect, useMemo, useRef } from 'preact/hooks';
import type { Dashboard } from '../api/types.ts';
import { copy } from '../copy/index.ts';
import { foreignTo } from '../format/locale.ts';
import { tickLabel } from '../format/number.ts';
import { phone } from '../store/clock.ts';
import type { Metric } from '../store/view.ts';
import { axisLabels } from './axis.ts';
import { barInWords, describeBar } from './describe.ts';
import { barAt, type Geometry, layOut } from './geometry.ts';
import { seriesName } from './names.ts';
import type { Series } from './series.ts';
import { active, clearChart, ordered, pinned, selection } from './state.ts';
import { Tooltip } from './tooltip.tsx';
import { canZoomInto, zoomTo } from './zoom.ts';

interface Props {
  data: Dashboard;
  metric: Metric;
  series: Series[];
  hidden: ReadonlySet<Series>;
}

const plotHeight = 260;
const dragFrom = 6;

export function Plot({ data, metric, series, hidden }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const width = useSignal(0);
  const height = plotHeight;
  const count = data.series.length;

  useLayoutEffect(() => {
    const element = box.current!;
    const measure = () => {
      width.value = Math.floor(element.clientWidth);
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  const geometry = useMemo(
    () => layOut(data.series, series, hidden, metric, { width: Math.max(1, width.value), height }),
    [data, series, [...hidden].map(one => one.id).join('\n'), metric, width.value, height],
  );

  const drag = useRef<{ from: number; x: number; moved: boolean } | null>(null);
  const indexAt = (event: PointerEvent) =>
    barAt(event.clientX - box.current!.getBoundingClientRect().left, width.value, count);

  const onPointerDown = (event: PointerEvent) => {
    const from = indexAt(event);
    if (event.button !== 0 || from < 0) return;
    // From here on the tooltip, which may lie in the way, takes neither a move nor the release.
    box.current!.setPointerCapture(event.pointerId);
    drag.current = { from, x: event.clientX, moved: false };
  };
  const onPointerMove = (event: PointerEvent) => {
    const index = indexAt(event);
    const dragging = drag.current;
    if (dragging && event.pointerType === 'mouse' && Math.abs(event.clientX - dragging.x) > dragFrom) {
      dragging.moved = true;
      if (index >= 0) selection.value = [dragging.from, index];
    }
    if (!pinned.value && index >= 0 && event.pointerType === 'mouse') active.value = index;
  };
  const onPointerUp = (event: PointerEvent) => {
    const dragging = drag.current;
    drag.current = null;
    if (!dragging) return;
    const chosen = selection.value;
    if (dragging.moved) {
      selection.value = null;
      if (chosen && canZoomInto(data)) zoomTo(data, ...ordered(chosen));
      return;
    }
    const index = indexAt(event);
    if (index < 0) return;
    // A first click looks, a second one on the same bar goes in.
    if (pinned.value && active.value === index) drill(index);
    else {
      active.value = index;
      pinned.value = true;
    }
  };
  const onPointerLeave = (event: PointerEvent) => {
    const into = event.relatedTarget as Element | null;
    if (!pinned.value && event.pointerType === 'mouse' && !into?.closest?.('.tooltip')) active.value = -1;
  };
  const drill = (index: number) => {
    if (canZoomInto(data)) zoomTo(data, index, index);
  };

  /** The bar that the slider speaks of. */
  const here = () => (active.value >= 0 && active.value < count ? active.value : lastBegun(data));

  const onKeyDown = (event: KeyboardEvent) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const at = here();
    const moves: Record<string, number> = {
      ArrowLeft: at - 1,
      ArrowDown: at - 1,
      ArrowRight: at + 1,
      ArrowUp: at + 1,
      PageUp: at - 7,
      PageDown: at + 7,
      Home: 0,
      End: count - 1,
    };
    const target = moves[event.key];
    if (target !== undefined) {
      const next = Math.min(count - 1, Math.max(0, target));
      selection.value = event.shiftKey ? [selection.value?.[0] ?? at, next] : null;
      active.value = next;
      pinned.value = false;
    } else if (event.key === 'Enter') {
      if (pinned.value) drill(at);
      else {
        active.value = at;
        pinned.value = true;
      }
    } else if (event.key.toLowerCase() === 'z' && canZoomInto(data)) {
      zoomTo(data, ...ordered(selection.value ?? [at, at]));
    } else if (event.key === 'Escape' && active.value >= 0) {
      clearChart();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };

  const onFocus = () => {
    // Coming by keyboard starts at the newest bar that has begun; a click has chosen its own.
    if (active.value < 0 && box.current!.matches(':focus-visible')) active.value = lastBegun(data);
  };
  const onBlur = (event: FocusEvent) => {
    const into = event.relatedTarget as Element | null;
    if (!pinned.value && !into?.closest('.tooltip')) clearChart();
  };

  const current = here();
  const words = barInWords(describeBar(data, current, metric, series, seriesName));

  return (
    <div class="plot-space">
      <YAxis geometry={geometry} />
      <div
        class="plot"
        ref={box}
        role="slider"
        tabIndex={0}
        aria-label={copy.plot[metric](data.range.grain)}
        aria-orientation="horizontal"
        aria-valuemin={1}
        aria-valuemax={count}
        aria-valuenow={current + 1}
        aria-valuetext={words}
        aria-describedby="plot-help"
        onPointerDown={onPointerDown}
        onPointerMove={onPointerMove}
        onPointerUp={onPointerUp}
        onPointerCancel={() => {
          drag.current = null;
          selection.value = null;
        }}
        onPointerLeave={onPointerLeave}
        onKeyDown={onKeyDown}
        onFocus={onFocus}
        onBlur={onBlur}
      >
        <svg
          width={width.value}
          height={height}
          viewBox={`0 0 ${width.value} ${height}`}
          preserveAspectRatio="none"
          aria-hidden="true"
          focusable="false"
        >
          <Patterns />
          <Grid geometry={geometry} width={width.value} />
          <Highlight geometry={geometry} height={height} />
          <Marks data={data} series={series} geometry={geometry} height={height} />
        </svg>
      </div>
      <XAxis data={data} width={width.value} />
      <p class="sr" id="plot-help">
        {copy.plotHelp}
      </p>
      <Tooltip data={data} metric={metric} series={series} geometry={geometry} />
    </div>
  );
}

function lastBegun(data: Dashboard): number {
  const index = data.series.findLastIndex(bar => bar.state !== 'future');
  return Math.max(0, index);
}

/** The hatchings: of what is missing, and of each series where colours are not to be had. */
function Patterns() {
  return (
    <defs>
      <pattern id="hatch" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
        <path class="hatch" d="M0 4h8" />
      </pattern>
      {patternPaths.map((d, i) => (
        <pattern key={d} id={`p${i + 1}`} width="8" height="8" patternUnits="userSpaceOnUse">
          <path class="pattern" d={d} />
        </pattern>
      ))}
    </defs>
  );
}

const patternPaths = [
  'M0 0h8v8h-8z',
  'M0 8L8 0M-2 2L2 -2M6 10L10 6',
  'M0 2h8M0 6h8',
  'M2 0v8M6 0v8',
  'M0 0L8 8M6 -2L10 2M-2 6L2 10',
  'M2 2h2v2h-2zM6 6h2v2h-2z',
  'M0 4h8M4 0v8',
  'M3 3h1v1h-1z',
];

function Grid({ geometry, width }: { geometry: Geometry; width: number }) {
  return (
    <g class="grid">
      {geometry.ticks.map(({ value, y }) => (
        <path key={value} class={value === 0 ? 'base' : undefined} d={`M0 ${Math.round(y) - 0.5}h${width}`} />
      ))}
    </g>
  );
}

function Highlight({ geometry, height }: { geometry: Geometry; height: number }) {
  const chosen = selection.value;
  const at = active.value;
  const [first, last] = chosen ? ordered(chosen) : [at, at];
  const [left, right] = [geometry.bands[first], geometry.bands[last]];
  if (!left || !right) return null;
  return (
    <rect
      class={chosen ? 'selected' : 'lit'}
      x={left.left}
      width={right.right - left.left}
      height={height}
      rx={4}
    />
  );
}

function Marks({
  data,
  series,
  geometry,
  height,
}: {
  data: Dashboard;
  series: Series[];
  geometry: Geometry;
  height: number;
}) {
  const spikes = data.insights.spikes
    .map(spike => data.series.findIndex(bar => bar.start === spike.start))
    .filter(index => index >= 0);
  return useMemo(
    () => (
      <>
        <path class="missing" d={geometry.missing} />
        <path class="previous" d={geometry.previous} />
        <path class="zero" d={geometry.zeros} />
        {series.map((one, i) => (
          <g key={one.id ?? one.kind} class={`s${one.colour}`}>
            <path d={geometry.marks[i]!.solid} />
            <path class="so-far" d={geometry.marks[i]!.progress} />
          </g>
        ))}
        <path class="progress" d={geometry.progressOutline} />
        <path class="settling" d={geometry.settlingCaps} />
        {spikes.map(index => {
          const band = geometry.bands[index]!;
          const y = Math.max(8, geometry.tops[index]! - 6);
          return <path key={index} class="spike" d={`M${band.x + band.width / 2} ${y - 7}l4.5 7h-9z`} />;
        })}
        {data.series.map((bar, index) => {
          const band = geometry.bands[index]!;
          return (
            <rect
              key={bar.start}
              class="hit"
              data-testid="bar"
              data-start={bar.start}
              data-end={bar.end}
              data-state={bar.state}
              data-credits={bar.credits ?? undefined}
              data-messages={bar.messages ?? undefined}
              x={band.left}
              width={band.right - band.left}
              height={height}
            />
          );
        })}
      </>
    ),
    [geometry, series, data],
  );
}

let pen: CanvasRenderingContext2D | null | undefined;
/** The letters of the axes, of 12 px, beside those of the page, of 14. */
const axisLetters = 12 / 14;
/** How wide a text is on an axis. */
function widthOf(text: string): number {
  if (pen === undefined) {
    pen = document.createElement('canvas').getContext('2d');
    if (pen) pen.font = getComputedStyle(document.documentElement).font;
  }
  return pen ? pen.measureText(text).width * axisLetters : text.length * 12;
}

function YAxis({ geometry }: { geometry: Geometry }) {
  const labels = geometry.ticks.map(tick => ({ ...tick, text: tickLabel(tick.value) }));
  const width = Math.max(phone.value ? 36 : 48, ...labels.map(({ text }) => Math.ceil(widthOf(text)) + 8));
  return (
    <svg class="y-axis" width={width} height={plotHeight + 16} aria-hidden="true">
      {labels.map(({ value, y, text }) => (
        <text key={value} x={width - 8} y={y + 12} text-anchor="end">
          {text}
        </text>
      ))}
    </svg>
  );
}

function XAxis({ data: { series, range }, width }: { data: Dashboard; width: number }) {
  const labels = useMemo(() => {
    const middle = (index: number) => ((index + 0.5) * width) / series.length;
    return axisLabels(series, range.grain, range.timezone, { width, middle, widthOf });
  }, [series, range, width]);
  return (
    <svg
      class="x-axis"
      width={width}
      height="24"
      viewBox={`0 0 ${width} 24`}
      lang={foreignTo(copy.language)}
      aria-hidden="true"
    >
      {labels.map(({ index, text, x }) => (
        <text key={index} x={x} y="17" text-anchor="middle">
          {text}
        </text>
      ))}
    </svg>
  );
}

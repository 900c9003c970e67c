import { describe, expect, test } from 'vitest';
import type { Grain } from '../api/types.ts';
import { agent, bar, dashboard } from '../testing.ts';
import { axisLabels } from './axis.ts';
import { barInWords, describeBar } from './describe.ts';
import { barAt, layOut, spark } from './geometry.ts';
import { assignColours, buildSeries, type Series } from './series.ts';
import { ticks } from './ticks.ts';

const part = (id: string | null, credits: string) => ({
  id,
  credits,
  messages: '1',
  ...(id ? {} : { others: 3 }),
});

const data = dashboard({
  series: [
    bar(1, '100', { agents: [part('a', '60'), part('b', '40')] }),
    bar(2, '0'),
    bar(3, null, { state: 'missing' }),
    bar(4, '30', { state: 'in_progress', agents: [part('b', '10'), part(null, '20')] }),
  ],
  agents: [agent('a', '60'), agent('b', '50'), agent('x', '10'), agent('y', '6'), agent('z', '4')],
  agents_total: 5,
});
const colours = assignColours(new Map(), data);
const series = buildSeries(data, 'credits', 'agents', colours);
const size = { width: 400, height: 200 };
const plain = layOut(data.series, series, new Set(), 'credits', size);

describe('ticks', () => {
  test.each([
    [100, [0, 20, 40, 60, 80, 100]],
    [4680, [0, 1000, 2000, 3000, 4000, 5000]],
    [3, [0, 1, 2, 3]],
    [0.4, [0, 1]],
    [0, [0, 1]],
  ])('up to %s are steps of 1, 2 or 5 in whole numbers', (high, expected) => {
    expect(ticks(0, high, 5)).toEqual(expected);
  });

  test('reach below zero where adjustments do, with zero among them', () => {
    const list = ticks(-833, 1200, 5);
    expect(list).toContain(0);
    expect(list[0]).toBeLessThanOrEqual(-833);
    expect(list.at(-1)).toBeGreaterThanOrEqual(1200);
  });

  test('cover any range with a bounded number of lines', () => {
    for (let exponent = 0; exponent < 24; exponent++) {
      const list = ticks(0, 3.7 * 10 ** exponent, 5);
      expect(list.length).toBeLessThanOrEqual(8);
      expect(list.at(-1)).toBeGreaterThanOrEqual(3.7 * 10 ** exponent);
    }
  });
});

describe('series', () => {
  test('follow the leaderboard, with Other last', () => {
    expect(series.map(one => one.id)).toEqual(['a', 'b', null]);
    expect(series.at(-1)).toMatchObject({ kind: 'other', others: 3, total: '20' });
  });

  test('a known bar without an agent is a zero, an unknown bar stays unknown', () => {
    expect(series[0]!.values).toEqual(['60', '0', null, '0']);
  });

  test('a colour stays with its agent when others come and go', () => {
    const narrowed = dashboard({
      series: [bar(1, '40', { agents: [part('b', '40')] })],
      agents: [agent('b', '40')],
    });
    expect(assignColours(colours, narrowed).get('b')).toBe(colours.get('b'));
    const joined = dashboard({
      series: [bar(1, '9', { agents: ['q', 'r', 'a', 'b', 's', 't', 'u'].map(id => part(id, '1')) })],
    });
    const next = assignColours(colours, joined);
    expect(next.get('a')).toBe(colours.get('a'));
    expect(next.get('b')).toBe(colours.get('b'));
    const onChart = ['q', 'r', 'a', 'b', 's', 't', 'u'].map(id => next.get(id));
    expect(new Set(onChart).size).toBe(7);
  });

  test('the same agents get the same colours on another machine', () => {
    expect(assignColours(new Map(), data)).toEqual(colours);
  });
});

/** The vertical reach of a path of absolute M and relative v, h, a and z commands. */
function reach(path: string): [number, number] {
  let y = 0;
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const [, command, rest] of path.matchAll(/([MvhazL])([^MvhazL]*)/g)) {
    const n = (rest ?? '')
      .trim()
      .split(/[\s,]+/)
      .map(Number);
    if (command === 'M' || command === 'L') y = n[1]!;
    else if (command === 'v') y += n[0]!;
    else if (command === 'a') y += n[6]!;
    low = Math.min(low, y);
    high = Math.max(high, y);
  }
  return [low, high];
}

describe('geometry', () => {
  test('columns tile the plot', () => {
    expect(plain.bands[0]!.left).toBe(0);
    expect(plain.bands.at(-1)!.right).toBeCloseTo(size.width);
    plain.bands.forEach((band, i) => {
      if (i) expect(band.left).toBeCloseTo(plain.bands[i - 1]!.right);
      expect(band.x).toBeGreaterThanOrEqual(band.left);
      expect(band.x + band.width).toBeLessThanOrEqual(band.right + 1e-9);
    });
  });

  test('the baseline is zero, always', () => {
    expect(plain.y(0)).toBe(plain.baseline);
    expect(plain.baseline).toBe(size.height);
  });

  test('a bar is as high as its figure', () => {
    const [top] = reach(plain.marks[1]!.solid);
    expect(top).toBeCloseTo(plain.y(100), 1);
  });

  test('zero, missing and in progress are different marks', () => {
    expect(plain.zeros).not.toBe('');
    expect(reach(plain.missing)).toEqual([0, size.height]);
    expect(plain.marks[0]!.progress).toBe('');
    expect(plain.marks[1]!.progress).not.toBe('');
    expect(plain.progressOutline).not.toBe('');
  });

  test('neighbouring gaps in the record are one band', () => {
    const bars = [bar(1, '1'), bar(2, null, { state: 'missing' }), bar(3, null, { state: 'missing' })];
    expect(layOut(bars, [], new Set(), 'credits', size).missing.match(/M/g)).toHaveLength(1);
  });

  test('what has not begun is left empty', () => {
    const bars = [bar(1, '5'), bar(2, '0', { state: 'future' })];
    expect(layOut(bars, [], new Set(), 'credits', size).zeros.match(/M/g)).toHaveLength(1);
  });

  test('a sliver of usage is still seen beside a giant', () => {
    const bars = [bar(1, '1000000'), bar(2, '0.000001')];
    const one: Series = {
      id: 'a',
      kind: 'agent',
      others: 0,
      colour: 1,
      values: ['1000000', '0.000001'],
      total: '',
    };
    const { marks } = layOut(bars, [one], new Set(), 'credits', size);
    const second = marks[0]!.solid.split('z')[1]!;
    expect(reach(second)[1] - reach(second)[0]).toBeGreaterThanOrEqual(3);
  });

  test('an adjustment below zero hangs from the baseline', () => {
    const bars = [bar(1, '-50')];
    const one: Series = { id: 'a', kind: 'agent', others: 0, colour: 1, values: ['-50'], total: '' };
    const drawn = layOut(bars, [one], new Set(), 'credits', size);
    const [top, bottom] = reach(drawn.marks[0]!.solid);
    expect(top).toBeCloseTo(drawn.baseline, 1);
    expect(bottom).toBeCloseTo(drawn.y(-50), 1);
  });

  test('a hidden series leaves no ink and the others their height', () => {
    const without = layOut(data.series, series, new Set([series[0]!]), 'credits', size);
    expect(without.marks[0]).toEqual({ solid: '', progress: '' });
    expect(reach(without.marks[1]!.solid)[0]).toBeCloseTo(without.y(40), 1);
  });

  test('400 bars of eight series are drawn within a frame or two', () => {
    const bars = Array.from({ length: 400 }, (_, i) => bar(1, '8', { start: `b${i}` }));
    const eight = Array.from({ length: 8 }, (_, i): Series => {
      return {
        id: `a${i}`,
        kind: 'agent',
        others: 0,
        colour: i + 1,
        values: bars.map(() => '1'),
        total: '400',
      };
    });
    const times = Array.from({ length: 5 }, () => {
      const before = performance.now();
      layOut(bars, eight, new Set(), 'credits', size);
      return performance.now() - before;
    });
    // The best of five: what else the machine does is not at issue.
    expect(Math.min(...times)).toBeLessThan(80);
  });

  test('a point belongs to the bar whose column it is in', () => {
    expect([-1, 0, 99.9, 100, 399.9, 400].map(x => barAt(x, 400, 4))).toEqual([-1, 0, 0, 1, 3, -1]);
  });

  test('a sparkline has no more points than there is room for', () => {
    const path = spark(
      Array.from({ length: 400 }, (_, i) => String(i)),
      { width: 88, height: 22 },
    );
    expect(path.match(/[ML]/g)!.length).toBeLessThanOrEqual(44);
    expect(spark(['5'], { width: 88, height: 22 })).toBe('');
    const gap = spark(['5', '5', null, '5', null, '5', '5'], { width: 88, height: 22 });
    expect(gap.match(/M/g)).toHaveLength(3); // what is missing is no zero
    expect(gap).not.toContain('NaN');
  });
});

describe('axis labels', () => {
  const bars = (count: number, minutes: number, from = '2026-11-09T23:00:00Z') =>
    Array.from({ length: count }, (_, i) => {
      const at = (n: number) => new Date(Date.parse(from) + n * minutes * 60_000).toISOString();
      return bar(1, '1', { start: at(i), end: at(i + 1) });
    });
  /** Letters of 7 px, like those of the page. */
  const labelled = (
    [count, minutes, grain]: readonly [number, number, Grain],
    width: number,
    zone = 'Europe/Copenhagen',
    widthOf = (text: string) => 7 * text.length,
  ) => {
    const middle = (index: number) => ((index + 0.5) * width) / count;
    return axisLabels(bars(count, minutes), grain, zone, { width, middle, widthOf }).map(label => ({
      ...label,
      start: label.x - widthOf(label.text) / 2,
      end: label.x + widthOf(label.text) / 2,
    }));
  };

  test('neither touch nor stick out, however long the reader’s dates are', () => {
    for (const shape of [
      [400, 1, 'minute'],
      [168, 60, 'hour'],
      [24, 60, 'hour'],
      [400, 1440, 'day'],
      [30, 1440, 'day'],
      [57, 10_080, 'week'],
    ] as const) {
      for (const letter of [5, 7, 14]) {
        for (const width of [240, 291, 640, 1140]) {
          const labels = labelled(shape, width, undefined, text => letter * text.length);
          expect(labels.length).toBeGreaterThan(0);
          expect(labels[0]!.start).toBeGreaterThanOrEqual(0);
          expect(labels.at(-1)!.end).toBeLessThanOrEqual(width);
          labels.slice(1).forEach((label, i) => {
            expect(label.start - labels[i]!.end).toBeGreaterThanOrEqual(10);
          });
        }
      }
    }
  });

  test('stay one where there is no room', () => {
    expect(labelled([24, 60, 'hour'], 10).length).toBe(1);
    expect(labelled([0, 60, 'hour'], 10).length).toBe(0);
  });

  test('fall on the clock’s own hours', () => {
    const texts = (...of: Parameters<typeof labelled>) => labelled(...of).map(label => label.text);
    expect(texts([24, 60, 'hour'], 560)).toEqual([
      '10 Nov',
      '03:00',
      '06:00',
      '09:00',
      '12:00',
      '15:00',
      '18:00',
      '21:00',
    ]);
    expect(texts([72, 60, 'hour'], 300)).toEqual(['10 Nov', '11 Nov', '12 Nov']);
  });
});

describe('a bar in words', () => {
  const nameOf = (one: Series) => one.id ?? 'Other (3 agents)';

  test('says what the tooltip says', () => {
    const text = describeBar(data, 0, 'credits', series, nameOf);
    expect(text).toMatchObject({ title: 'Sun 1 Nov 2026', value: '100', unit: 'credits', note: null });
    expect(text.parts.map(p => [p.name, p.value, p.share])).toEqual([
      ['a', '60', '60.0%'],
      ['b', '40', '40.0%'],
    ]);
    expect(barInWords(text)).toBe('Sun 1 Nov 2026: 100 credits. a 60, 60.0%; b 40, 40.0%');
  });

  test('names the agent that used most in it first, whoever leads the range, and Other last', () => {
    const parts = [part('a', '5'), part('b', '40'), part(null, '55')];
    const turned = dashboard({
      series: [bar(1, '100', { agents: parts })],
      agents: data.agents,
      agents_total: 5,
    });
    const list = buildSeries(turned, 'credits', 'agents', colours);
    expect(list.map(one => one.id)).toEqual(['a', 'b', null]);
    expect(barInWords(describeBar(turned, 0, 'credits', list, nameOf))).toBe(
      'Sun 1 Nov 2026: 100 credits. b 40, 40.0%; a 5, 5.0%; Other (3 agents) 55, 55.0%',
    );
  });

  test('tells zero, missing and in progress apart', () => {
    const words = (index: number) => barInWords(describeBar(data, index, 'credits', series, nameOf));
    expect(words(1)).toBe('Mon 2 Nov 2026: 0 credits');
    expect(words(2)).toBe('Tue 3 Nov 2026: No data recorded');
    expect(words(3)).toContain('30 credits. In progress: so far.');
  });

  test('compares, in words', () => {
    const before = {
      start: '2026-10-01T00:00:00Z',
      end: '2026-10-02T00:00:00Z',
      credits: '80',
      messages: '1',
    };
    const compared = dashboard({ series: [bar(1, '100', { previous: before })] });
    const text = describeBar(compared, 0, 'credits', [], nameOf);
    expect(text.previous).toMatchObject({ span: '1 Oct 2026', value: '80' });
    expect(barInWords(text)).toContain('80 before, up 25.0 percent');
  });
});

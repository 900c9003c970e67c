import { describe, expect, test } from 'vitest';
import { defaultView, readView, usageParams, type View, writeView } from './view.ts';

const full: View = {
  range: { kind: 'dates', from: '2026-11-01', to: '2026-11-24' },
  agent: 'agt/odd id&x',
  metric: 'messages',
  grain: 'hour',
  compare: 'prev_dow',
  stacking: 'total',
  hidden: ['a,b', ''],
  sort: { key: 'name', descending: false },
  table: true,
  behind: { kind: 'agent', id: 'agt:odd id&x' },
};

describe('the address', () => {
  test('is empty for the default view', () => {
    expect(writeView(defaultView)).toBe('');
    expect(readView('')).toEqual({ view: defaultView, unread: null });
  });

  test('restores every choice', () => {
    expect(readView(writeView(full))).toEqual({ view: full, unread: null });
  });

  test('has one order', () => {
    expect(writeView(full)).toBe(
      '?from=2026-11-01&to=2026-11-24&agent=agt%2Fodd+id%26x&metric=messages&grain=hour&compare=prev_dow' +
        '&view=total&hide=a%2Cb&hide=&sort=name&table=1&behind=agent:agt:odd+id%26x',
    );
    expect(writeView(readView('?table=1&range=30d&agent=a').view)).toBe('?range=30d&agent=a&table=1');
  });

  test('keeps presets rolling and writes custom dates and zooms as they are', () => {
    expect(writeView({ ...defaultView, range: { kind: 'preset', preset: '30d' } })).toBe('?range=30d');
    const zoom = '?start=2026-11-12T10:00:00Z&end=2026-11-12T12:00:00Z';
    expect(writeView(readView(zoom).view)).toBe(zoom);
  });

  test('spells one instant one way, in whole minutes', () => {
    const { view } = readView('?start=2026-11-12T11:00:30%2B01:00&end=2026-11-12T12:00:00Z');
    expect(view.range).toEqual({
      kind: 'instants',
      start: '2026-11-12T10:00:00Z',
      end: '2026-11-12T12:00:00Z',
    });
  });

  test.each([
    ['range', { kind: 'range' }],
    ['bar:2026-11-12T00:00:00Z', { kind: 'bar', start: '2026-11-12T00:00:00Z' }],
    ['bar:2026-11-12T01:00:00%2B01:00', { kind: 'bar', start: '2026-11-12T00:00:00Z' }],
    ['agent:a:b', { kind: 'agent', id: 'a:b' }],
  ])('opens the drawer: %s', (text, behind) => {
    expect(readView(`?behind=${text}`)).toEqual({ view: { ...defaultView, behind }, unread: null });
  });

  test.each(['', 'all', 'range:x', 'bar', 'bar:yesterday', 'agent:'])(
    'leaves the drawer closed and says so: %s',
    text => {
      expect(readView(`?behind=${text}`)).toEqual({ view: defaultView, unread: 'other' });
    },
  );

  test('takes all for All Agents', () => {
    expect(readView('?agent=all').view.agent).toBeNull();
    expect(readView('?agent=').view.agent).toBeNull();
  });

  test.each([
    '?range=fortnight',
    '?from=2026-11-01',
    '?from=2026-13-01&to=xyz',
    '?from=2026-11-24&to=2026-11-01',
    '?start=2026-11-12T10:00:00Z&end=2026-11-12T09:00:00Z',
    '?start=2026-11-12&end=2026-11-13',
    '?range=30d&from=2026-11-01&to=2026-11-02',
  ])('falls back to this billing period where the dates cannot be read: %s', search => {
    const { view, unread } = readView(search);
    expect(view.range).toEqual(defaultView.range);
    expect(unread).toBe('dates');
  });

  test.each(['?metric=euros', '?grain=second', '?compare=next', '?view=pie', '?sort=-size', '?table=yes'])(
    'falls back to the default where another value cannot be read: %s',
    search => {
      expect(readView(search)).toEqual({ view: defaultView, unread: 'other' });
    },
  );

  test('ignores what it does not know', () => {
    expect(readView('?utm_source=mail')).toEqual({ view: defaultView, unread: null });
  });
});

describe('the request', () => {
  test('asks only for what the service has to know', () => {
    expect(usageParams('ws', { ...full, metric: 'credits', table: false })).toBe(usageParams('ws', full));
    expect(usageParams('ws', defaultView)).toBe(
      'workspace=ws&range=period&agent=all&grain=auto&compare=none',
    );
  });
});

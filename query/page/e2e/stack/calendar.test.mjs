// Days, zones and presets, by a clock that stands still.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { clock, closeBrowser, workspace } from '../stack.mjs';
import { figures, open } from '../support.mjs';

after(async () => {
  await clock(null);
  await closeBrowser();
});

test('a day of 23 hours has 23 bars', { timeout: 60_000 }, async () => {
  await clock('2026-01-01T00:00:00Z');
  const ws = await workspace({ timezone: 'Europe/Copenhagen', agents: { agt_a: 'Ada' } });
  await clock('2026-04-02T10:00:00Z');
  await ws.send({ at: '2026-03-29T00:30:00Z', credits: '2.5' }, { at: '2026-03-29T01:30:00Z' });
  await ws.counted();
  const opened = await open(await ws.world(), '?from=2026-03-29&to=2026-03-29&grain=hour');
  const shown = await figures(opened.page);
  assert.equal(shown.bars.length, 23);
  assert.equal(shown.credits, '3.5');
  await opened.close();
});

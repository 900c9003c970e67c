// Figures, dates and times as the reader writes them, and the answer's sentence with the same figures.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { clock, closeBrowser, workspace } from '../stack.mjs';
import { api, base, open, settled } from '../support.mjs';

let world;
let sent;
before(async () => {
  await clock('2026-09-01T00:00:00Z');
  const ws = await workspace({ timezone: 'Europe/Copenhagen', agents: { agt_a: 'Ada', agt_b: 'Ben' } });
  await clock('2026-11-24T13:32:05Z');
  await ws.send(
    { at: '2026-10-12T09:00:00Z', agent: 'agt_b', credits: '1520' },
    { at: '2026-11-12T09:00:00Z', agent: 'agt_a', credits: '1234567.000001' },
    { at: '2026-11-12T09:30:00Z', agent: 'agt_b', credits: '4720' },
  );
  await ws.counted();
  sent = ws.sum({ from: '2026-11-01T00:00:00+01:00' }).credits;
  world = await ws.world();
});
after(async () => {
  await clock(null);
  await closeBrowser();
});

const view = '?from=2026-11-01&to=2026-11-24&compare=prev&table=1';

/** What stands on the page wherever a figure or a date does; marks that only set a direction are left out. */
const read = page =>
  page.evaluate(() => {
    const text = selector =>
      document
        .querySelector(selector)
        ?.textContent.trim()
        .replace(/[\u200e\u200f\u061c\u2068\u2069]/g, '');
    return {
      card: text('[data-testid=credits-used]'),
      row: text('.leaderboard tbody tr.all td.number'),
      foot: text('.figures tfoot td'),
      share: text('.leaderboard tbody tr:nth-child(2) td.share .num'),
      sentence: text('.sentence'),
      range: text('.dates .control-value'),
    };
  });

test('to a reader of English the page says the service’s own sentence', { timeout: 60_000 }, async () => {
  const { page, close } = await open(world, view);
  const answer = await api(
    page,
    `/v1/usage/dashboard${view.replace('&table=1', '')}&workspace=${world.workspace}`,
  );
  const { sentence } = (await answer.json()).insights;
  assert.match(
    sentence,
    /^Ada drove over 99% of credits in this range .* Biggest rise: Ada, \+1,234,567\.000001 \(new\)\.$/,
  );
  assert.equal((await read(page)).sentence, sentence);
  await close();
});

for (const [locale, figure, part, share, whole, range, hours] of [
  [
    'de-DE',
    '1.239.287,000001',
    '1.234.567,000001',
    '99,6 %',
    '99 %',
    '1. Nov. – 24. Nov. 2026',
    '12. Nov., 03:00–15:00',
  ],
  [
    'fr-FR',
    '1 239 287,000001',
    '1 234 567,000001',
    '99,6 %',
    '99 %',
    '1 nov. – 24 nov. 2026',
    '12 nov., 03:00–15:00',
  ],
  [
    'en-IN',
    '12,39,287.000001',
    '12,34,567.000001',
    '99.6%',
    '99%',
    '1 Nov – 24 Nov 2026',
    '12 Nov, 3:00 am – 3:00 pm',
  ],
  [
    'en-US',
    '1,239,287.000001',
    '1,234,567.000001',
    '99.6%',
    '99%',
    'Nov 1 – Nov 24, 2026',
    'Nov 12, 3:00 AM – 3:00 PM',
  ],
  [
    'hi-IN',
    '12,39,287.000001',
    '12,34,567.000001',
    '99.6%',
    '99%',
    '1 नव॰ – 24 नव॰ 2026',
    '12 नव॰, 3:00 am – 3:00 pm',
  ],
  [
    'ar',
    '1,239,287.000001',
    '1,234,567.000001',
    '99.6%',
    '99%',
    '1 نوفمبر – 24 نوفمبر 2026',
    '12 نوفمبر, 3:00 ص – 3:00 م',
  ],
  [
    'ja-JP',
    '1,239,287.000001',
    '1,234,567.000001',
    '99.6%',
    '99%',
    '2026年11月1日 – 11月24日',
    '11月12日, 03:00–15:00',
  ],
]) {
  test(`every figure of a page is written alike: ${locale}`, { timeout: 60_000 }, async () => {
    assert.equal(sent, '1239287.000001');
    const { page, close } = await open(world, view, { locale });
    const shown = await read(page);
    // Browsers' releases differ in how wide their spaces are that no line breaks at.
    const spaced = text => text.replace(/[\u00a0\u202f]/g, ' ');
    assert.deepEqual(Object.fromEntries(Object.entries(shown).map(([name, text]) => [name, spaced(text)])), {
      card: figure,
      row: figure,
      foot: figure,
      share,
      sentence: `Ada drove over ${whole} of credits in this range (${part} of ${figure}). Biggest rise: Ada, +${part} (new).`,
      range,
    });
    for (const grouped of [shown.card, shown.row, shown.foot, shown.share]) {
      assert.doesNotMatch(grouped, / /, 'a figure never breaks across lines');
    }
    await close();
    const zoomed = await open(world, '?start=2026-11-12T02:00:00Z&end=2026-11-12T14:00:00Z', { locale });
    assert.equal(spaced((await read(zoomed.page)).range), hours);
    await zoomed.close();
  });
}

for (const locale of ['de-DE', 'pt-BR', 'hi-IN', 'ja-JP', 'en-US', 'ar']) {
  test(`below the bars dates neither touch nor stick out on a phone: ${locale}`, {
    timeout: 60_000,
  }, async () => {
    const { page, close } = await open(world, view, {
      locale,
      viewport: { width: 375, height: 800 },
    });
    for (const range of [
      'from=2026-11-12&to=2026-11-12',
      'from=2026-11-08&to=2026-11-14',
      'range=period',
      'from=2026-06-01&to=2026-11-24',
      'from=2025-11-01&to=2026-11-30&grain=month',
    ]) {
      await page.goto(`${base}/w/${world.workspace}/usage?${range}`);
      await settled(page);
      const labels = await page.locator('.x-axis text').evaluateAll(texts =>
        texts.map(text => {
          const { left, right } = text.getBoundingClientRect();
          return { text: text.textContent, left, right };
        }),
      );
      assert.ok(labels.length > 1, `${range}: ${labels.length} labels`);
      labels.forEach((label, i) => {
        const before = labels[i - 1];
        if (before)
          assert.ok(label.left - before.right > 8, `${range}: ${before.text} touches ${label.text}`);
        assert.ok(label.left >= 0 && label.right <= 375, `${range}: ${label.text} sticks out`);
      });
      const figures = await page.locator('.y-axis').evaluate(axis => {
        const room = axis.closest('.card').getBoundingClientRect();
        return [...axis.querySelectorAll('text')].map(text => {
          const { left } = text.getBoundingClientRect();
          return { text: text.textContent, inside: left - room.left };
        });
      });
      for (const { text, inside } of figures) assert.ok(inside > 0, `${range}: ${text} leaves the card`);
    }
    await close();
  });
}

/** The languages that texts with the name of a month are marked with, as far as they can be marked. */
const languagesOfDates = (page, months) =>
  page.evaluate(source => {
    const dates = new RegExp(source);
    const found = {};
    const walk = root => {
      for (const node of root.childNodes) {
        if (node.nodeType === Node.TEXT_NODE && dates.test(node.data)) {
          let element = node.parentElement;
          while (element && !element.getAttribute('lang'))
            element = element.parentElement ?? element.getRootNode().host;
          found[node.data.trim()] = element.getAttribute('lang');
        } else if (node.nodeType === Node.ELEMENT_NODE) {
          if (node.shadowRoot) walk(node.shadowRoot);
          // What is printed is not said.
          if (!node.matches('.print-only')) walk(node);
        }
      }
    };
    walk(document.body);
    return found;
  }, months);

for (const [locale, months, language] of [
  ['de-DE', 'Okt|Nov|Dez', 'de-DE'],
  ['en-US', 'Oct|Nov|Dec', 'en'],
]) {
  test(`dates are said in the reader’s language, and all else in the page’s: ${locale}`, {
    timeout: 60_000,
  }, async () => {
    const { page, close } = await open(world, view, { locale });
    const marked = async least => {
      const found = await languagesOfDates(page, months);
      assert.ok(Object.keys(found).length >= least, JSON.stringify(found));
      for (const [text, own] of Object.entries(found)) assert.equal(own, language, text);
    };
    await page.getByRole('slider').focus();
    await page.getByRole('slider').press('Enter');
    await page.getByRole('button', { name: 'See hours' }).waitFor();
    await marked(24 + 3);
    await page.getByRole('group').getByRole('button', { name: 'Details' }).click();
    await page.getByRole('dialog').getByRole('table').nth(2).waitFor();
    await marked(24 + 4);
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: /^Date range: .*2026/ }).click();
    await page.getByRole('dialog').locator('calendar-range').waitFor();
    await marked(24 + 4);
    const button = page.getByRole('dialog').getByText('Previous month');
    assert.equal(await button.evaluate(text => text.closest('[lang]').lang), 'en');
    await page.goto(`${base}/w/${world.workspace}/usage?from=2026-11-20&to=2026-11-21`);
    await settled(page);
    await page.getByText(/^Last usage was on/).waitFor();
    await marked(2);
    await close();
  });
}

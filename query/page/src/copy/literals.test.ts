// biome-ignore-all lint/suspicious/noTemplateCurlyInString: sources that are looked through
import ts from 'typescript';
import { expect, test } from 'vitest';

const sources: Record<string, string> = import.meta.glob(
  ['../**/*.{ts,tsx}', '!../copy/**', '!../api/**', '!../**/*.test.ts', '!../testing.ts'],
  { query: '?raw', import: 'default', eager: true },
);

/** Attributes that no reader sees or hears. */
const silent =
  /^(class|id|d|key|name|type|role|rel|viewBox|transform|patternTransform|patternUnits|autocomplete|text-anchor|preserveAspectRatio)$/;
const silentAria =
  /^aria-(controls|labelledby|describedby|haspopup|current|sort|live|hidden|autocomplete|orientation)$/;

/** A capitalised word, or one beside another or beside a figure. */
const readsAsText = (text: string) => /(^|\s)\p{Lu}\p{Ll}|\s\p{Ll}{2,}|\p{L}{2,}[,.:…!?]?\s/u.test(text);

/** What stands in a source and would be seen by a reader without standing in the catalogue. */
export function literals(source: string): string[] {
  const found: string[] = [];
  const file = ts.createSourceFile('x.tsx', source, ts.ScriptTarget.Latest, true, ts.ScriptKind.TSX);
  const visit = (node: ts.Node, child: boolean) => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node) || ts.isTypeNode(node)) return;
    if (ts.isJsxAttribute(node)) {
      const name = node.name.getText();
      if (silent.test(name) || silentAria.test(name)) return;
      // Of an attribute that speaks, each word counts.
      const speaks = /^(aria-|title|placeholder|alt|label|text)/.test(name);
      if (node.initializer) visit(node.initializer, speaks);
      return;
    }
    if (ts.isJsxText(node)) {
      const text = node.text.replace(/&\w+;/g, '');
      if (/\p{L}/u.test(text)) found.push(text.trim());
      return;
    }
    if (ts.isStringLiteralLike(node) || ts.isTemplateHead(node) || ts.isTemplateMiddleOrTemplateTail(node)) {
      if (isKey(node)) return;
      if (child ? /\p{L}{2}/u.test(node.text) : readsAsText(node.text)) found.push(node.text);
      return;
    }
    // Thrown, or a selector, or a class.
    if (ts.isNewExpression(node) && /Error$/.test(node.expression.getText())) return;
    if (
      ts.isCallExpression(node) &&
      /(\.(closest|querySelector|matches)|matchMedia)$/.test(node.expression.getText())
    )
      return;
    if (ts.isPropertyAssignment(node) && node.name.getText() === 'class') return;
    const inside = ts.isJsxExpression(node) ? child || !ts.isJsxAttribute(node.parent) : keeps(node) && child;
    node.forEachChild(next =>
      visit(next, inside && !(ts.isConditionalExpression(node) && next === node.condition)),
    );
  };
  visit(file, false);
  return found;
}

/** Whether what is said inside is what the whole says. */
const keeps = (node: ts.Node) =>
  ts.isConditionalExpression(node) ||
  ts.isParenthesizedExpression(node) ||
  ts.isTemplateExpression(node) ||
  ts.isTemplateSpan(node) ||
  ts.isAsExpression(node) ||
  (ts.isBinaryExpression(node) && /^(\+|&&|\|\||\?\?)$/.test(node.operatorToken.getText()));

/** Names of keys, events, headers and elements, which are compared with or looked up. */
function isKey(node: ts.Node): boolean {
  const { parent } = node;
  return (
    (ts.isPropertyAssignment(parent) && parent.name === node) ||
    ts.isElementAccessExpression(parent) ||
    ts.isCaseClause(parent) ||
    (ts.isBinaryExpression(parent) && /^[!=]==?$/.test(parent.operatorToken.getText()))
  );
}

test.each(Object.keys(sources))('%s says nothing that is not in the catalogue', path => {
  expect(literals(sources[path]!)).toEqual([]);
});

test('what a component says by itself is found', () => {
  for (const [source, said] of [
    ['<p>Cancel</p>', 'Cancel'],
    ["<p>{n === 1 ? 'agent' : copy.agents}</p>", 'agent'],
    ['<p>{`${n} agents`}</p>', ' agents'],
    ["<button aria-label={open ? 'close' : copy.open} />", 'close'],
    ['<input placeholder="name" />', 'name'],
    ["const does = 'Choose dates';", 'Choose dates'],
    ["const names = { day: 'Day' };", 'Day'],
    ['text.value = `${who}: ${n} credits.`;', ' credits.'],
  ] as const) {
    expect(literals(source), source).toEqual([said]);
  }
  for (const source of [
    '<p class={on ? "card on" : "card"} aria-sort={up ? "ascending" : undefined}>{copy.cancel} · {n}</p>',
    "if (event.key === 'ArrowDown' || event.key === 'z') moves['PageUp']();",
    'throw new RangeError(`not a decimal: ${text}`);',
    '<path d={`M0 ${y}h8`} />',
    "import { a } from './Some Words.ts';",
  ]) {
    expect(literals(source), source).toEqual([]);
  }
});

/** Where the grid lines of an axis lie: steps of 1, 2 or 5 times a power of ten, whole numbers, zero always. */
export function ticks(low: number, high: number, wanted: number): number[] {
  const min = Math.min(0, low);
  const max = Math.max(0, high) || (min < 0 ? 0 : 1);
  const rough = (max - min) / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, ([1, 2, 5, 10].find(factor => factor * power >= rough) ?? 10) * power);
  const list: number[] = [];
  for (let i = Math.floor(min / step); i <= Math.ceil(max / step); i++) list.push(i * step);
  return list;
}

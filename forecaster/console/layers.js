// What a story's chart is made of: lines on grids of their own, bands between them, marks. No page and no canvas here.

import { seconds } from "./words.js";

// {lines: [{key, label, kind, times, values, step}], bands: [[high, low, kind]], odd: [{time, value}], from, to, now}
export function layers(story, { past, earlier, models }, now) {
  const lines = [], bands = [];
  const add = (key, label, kind, times, values, step) => lines.push({ key, label, kind, times, values, step }) - 1;

  const seen = grid(story.past.start, story.past.step, story.past.actual.length);
  add("actual", "actual", "actual", seen, story.past.actual, story.past.step);

  const { start, step, levels } = story.ahead;
  const ranks = Object.keys(levels).sort((a, b) => a - b);
  const coming = grid(start, step, Math.max(0, ...ranks.map((level) => levels[level].length)));
  fan(ranks, "ahead", (level) => add(`ahead ${level}`, level === "0.5" ? "expected" : `level ${level}`, kindOf(level, "ahead"), coming, levels[level], step), bands);

  if (Object.hasOwn(story.earlier, earlier)) { // the address may name anything
    const before = story.earlier[earlier];
    const apart = before.times.length > 1 ? before.times[1] - before.times[0] : step;
    fan(Object.keys(before.levels).sort((a, b) => a - b), "earlier", (level) =>
      add(`earlier ${level}`, `${level === "0.5" ? "forecast" : `level ${level}`} ${earlier} before`, kindOf(level, "earlier"), before.times, before.levels[level], apart), bands);
  }
  for (const model of models) {
    if (Object.hasOwn(story.ahead.models, model)) add(`model ${model}`, model, "model", coming, story.ahead.models[model], step);
  }

  const odd = seen
    .map((time, i) => ({ time, value: story.past.actual[i], score: story.past.score[i] }))
    .filter(({ value, score }) => value !== null && value !== undefined && score > 1);
  const reach = seconds(past);
  const to = Math.min(now + reach, coming.length ? coming[coming.length - 1] : now + reach);
  return { lines, bands, odd, now, from: now - reach, to: Math.max(to, now + step), points: [...seen, ...coming] };
}

// The lines' values nearest to a moment, those within their own step: {key: value}.
export function valuesAt(lines, moment) {
  const found = {};
  for (const { key, times, values, step } of lines) {
    const i = nearest(times, moment);
    const value = i < 0 ? null : values[i];
    if (value !== null && value !== undefined && Math.abs(times[i] - moment) <= step / 2) found[key] = value;
  }
  return found;
}

export function nearest(times, moment) {
  let [low, high] = [0, times.length - 1];
  if (high < 0) return -1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (times[middle] <= moment) low = middle;
    else high = middle;
  }
  return Math.abs(times[low] - moment) <= Math.abs(times[high] - moment) ? low : high;
}

const grid = (start, step, count) => Array.from({ length: count }, (_, i) => start + i * step);
const kindOf = (level, kind) => (level === "0.5" ? `${kind}-median` : `${kind}-edge`);

// Lines from the lowest level to the highest, with a band between each two that belong together: 0.1 and 0.9.
function fan(ranks, kind, add, bands) {
  const at = Object.fromEntries(ranks.map((level) => [level, add(level)]));
  for (let i = 0; i < Math.floor(ranks.length / 2); i += 1) {
    bands.push([at[ranks[ranks.length - 1 - i]], at[ranks[i]], kind]);
  }
}

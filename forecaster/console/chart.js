// The large chart: uPlot draws lines and bands; now, thresholds and marks are drawn over it.

import { nearest, valuesAt } from "./layers.js";
import { moment, number, time } from "./words.js";

const day = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short" });
const DASHES = [[7, 3], [2, 3], [9, 3, 2, 3], [4, 2], [12, 4], [1, 2]]; // models differ by more than colour
const NEAR = 0.75; // a threshold is in the picture when it isn't further away than this share of what is seen

// `on.read(moment, values)`: what the cursor is at; values by a line's key. `on.zoom(zoomed)`.
export function makeChart(box, on) {
  let plot = null, shape = "", content = null, zoomed = false, at = null;

  function draw(next) {
    const first = content === null || content.id !== next.id || content.past !== next.past;
    content = next;
    if (first) zoomed = false;
    const wanted = JSON.stringify([next.lines.map(({ key }) => key), next.bands]);
    const data = uPlot.join(next.lines.map(({ times, values }) => [times, values]));
    if (plot === null || shape !== wanted) {
      build(data);
      shape = wanted;
    } else {
      plot.batch(() => {
        plot.setData(data, false);
        plot.setScale("x", zoomed ? { min: plot.scales.x.min, max: plot.scales.x.max } : { min: next.from, max: next.to });
      });
    }
    on.zoom(zoomed);
    if (at !== null) move(at);
  }

  function build(data) {
    const held = zoomed && plot ? { ...plot.scales.x } : null;
    if (plot) plot.destroy();
    plot = new uPlot(options(), data, box);
    plot.setScale("x", held ? { min: held.min, max: held.max } : { min: content.from, max: content.to });
  }

  function options() {
    const paint = colours(box);
    const axis = { stroke: paint.faint, font: paint.font, ticks: { show: false }, grid: { stroke: paint.grid, width: 1 } };
    let model = 0;
    return {
      ...size(),
      legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: true, y: false, setScale: true } },
      scales: { x: { time: true }, y: { range: (_, low, high) => bounds(low, high, content.thresholds) } },
      axes: [
        { ...axis, size: 30, space: 70, values: (_, splits) => splits.map(hourOrDay) },
        { ...axis, size: 58, gap: 6, values: (_, splits) => splits.map(number) },
      ],
      series: [{}, ...content.lines.map(({ kind }) => pen(kind, paint, kind === "model" ? model++ : 0))],
      bands: content.bands.map(([high, low, kind]) => ({ series: [high + 1, low + 1], fill: paint[`${kind}-band`] })),
      hooks: {
        drawClear: [(u) => future(u, paint, content)],
        draw: [(u) => { present(u, paint, content); thresholds(u, paint, content); odd(u, paint, content); alerts(u, paint, content); }],
        setCursor: [(u) => { if (u.cursor.left >= 0) read(u.posToVal(u.cursor.left, "x")); }],
        setSelect: [(u) => { if (u.select.width > 3) { zoomed = true; on.zoom(true); } }],
        ready: [(u) => u.over.addEventListener("dblclick", () => reset())],
      },
    };
  }

  function read(moment_) {
    const i = nearest(content.points, moment_);
    if (i >= 0) { at = content.points[i]; on.read(at, valuesAt(content.lines, at)); }
  }

  // Puts the cursor to a moment, which comes into the picture where it wasn't.
  function move(to) {
    at = to;
    on.read(at, valuesAt(content.lines, at));
    queueMicrotask(() => { // after uPlot's own: only then do places belong to the range that was just set
      if (plot && at === to) plot.setCursor({ left: plot.valToPos(to, "x"), top: plot.over.clientHeight / 2 }, false);
    });
  }

  function reset() {
    zoomed = false;
    plot.setScale("x", { min: content.from, max: content.to });
    on.zoom(false);
  }

  const size = () => ({ width: Math.max(200, box.clientWidth), height: Math.max(180, box.clientHeight) });
  new ResizeObserver(() => { if (plot && box.clientWidth) plot.setSize(size()); }).observe(box);

  return {
    draw,
    reset,
    repaint() { if (plot) { plot.destroy(); plot = null; draw(content); } },
    // By so many points from where the cursor is; from now where it is nowhere.
    step(by) {
      const inside = content.points.filter((point) => point >= content.from && point <= content.to);
      if (!inside.length) return;
      const from = nearest(inside, at ?? content.now);
      move(inside[Math.max(0, Math.min(inside.length - 1, from + by))]);
    },
    range: () => ({ at: at ?? content.now, from: content.from, to: content.to }),
  };
}

function pen(kind, paint, which) {
  const shared = { points: { show: false }, spanGaps: false };
  if (kind === "actual") return { ...shared, stroke: paint.ink, width: 1.75 };
  if (kind === "ahead-median") return { ...shared, stroke: paint.ahead, width: 2 };
  if (kind === "earlier-median") return { ...shared, stroke: paint.earlier, width: 1.5, dash: [4, 3] };
  if (kind === "model") return { ...shared, stroke: paint.models[which % paint.models.length], width: 1.5, dash: DASHES[which % DASHES.length] };
  return { ...shared, stroke: paint[kind.replace("edge", "band")], width: 1 };
}

// Room above and below, never below 0 for what isn't; thresholds are in the picture as long as they don't squash it.
function bounds(low, high, all) {
  if (low === null || high === null) return [0, 1];
  const spread = high - low || Math.abs(high) || 1;
  const near = all.map(({ value }) => value).filter((value) => value >= low - NEAR * spread && value <= high + NEAR * spread);
  const [bottom, top] = [Math.min(low, ...near), Math.max(high, ...near)];
  const room = 0.08 * (top - bottom || spread);
  return [low >= 0 && bottom >= 0 ? Math.max(0, bottom - room) : bottom - room, top + room];
}

const hourOrDay = (unix) => {
  const date = new Date(unix * 1000);
  return date.getHours() || date.getMinutes() ? time(unix) : day.format(date);
};

const within = (u, x) => Math.min(u.bbox.left + u.bbox.width, Math.max(u.bbox.left, x));

// The future lies on another ground; a line says where it begins.
function future(u, paint, { now }) {
  const { ctx, bbox } = u;
  const x = within(u, u.valToPos(now, "x", true));
  ctx.save();
  ctx.fillStyle = paint.future;
  ctx.fillRect(x, bbox.top, bbox.left + bbox.width - x, bbox.height);
  ctx.restore();
}

function present(u, paint, { now }) {
  const { ctx, bbox } = u;
  const x = u.valToPos(now, "x", true);
  if (x !== within(u, x)) return;
  ctx.save();
  ctx.strokeStyle = paint.faint;
  ctx.lineWidth = devicePixelRatio;
  stroke(ctx, x, bbox.top, x, bbox.top + bbox.height);
  ctx.fillStyle = paint.faint;
  ctx.font = paint.scaled;
  ctx.textBaseline = "top";
  ctx.textAlign = "left";
  ctx.fillText("now", x + 5 * devicePixelRatio, bbox.top + 4 * devicePixelRatio);
  ctx.restore();
}

function thresholds(u, paint, { thresholds: all }) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = paint.threshold;
  ctx.lineWidth = 1.25 * devicePixelRatio;
  ctx.font = paint.scaled;
  ctx.textAlign = "left";
  for (const { value, direction } of all) {
    const inside = value >= u.scales.y.min && value <= u.scales.y.max;
    const above = value > u.scales.y.max;
    const y = inside ? u.valToPos(value, "y", true) : above ? bbox.top + 14 * devicePixelRatio : bbox.top + bbox.height - 4 * devicePixelRatio;
    if (inside) {
      ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
      stroke(ctx, bbox.left, y, bbox.left + bbox.width, y);
    }
    const where = inside ? "" : above ? " ↑" : " ↓";
    const word = direction === "down" ? "not below" : "threshold";
    ctx.textBaseline = "bottom";
    ctx.setLineDash([]);
    const text = `${word} ${number(value)}${where}`;
    const at = [bbox.left + 6 * devicePixelRatio, y - 3 * devicePixelRatio];
    ctx.save(); // readable on lines and bands, too
    ctx.strokeStyle = paint.ground;
    ctx.lineWidth = 4 * devicePixelRatio;
    ctx.lineJoin = "round";
    ctx.strokeText(text, ...at);
    ctx.restore();
    ctx.fillText(text, ...at);
  }
  ctx.restore();
}

function odd(u, paint, { odd: all }) {
  const { ctx } = u;
  const size = 4.5 * devicePixelRatio;
  ctx.save();
  ctx.fillStyle = paint.odd;
  ctx.strokeStyle = paint.ground;
  ctx.lineWidth = devicePixelRatio;
  for (const { time: when, value } of visible(u, all)) {
    const [x, y] = [u.valToPos(when, "x", true), u.valToPos(value, "y", true)];
    ctx.beginPath();
    ctx.moveTo(x, y - size);
    ctx.lineTo(x + size, y);
    ctx.lineTo(x, y + size);
    ctx.lineTo(x - size, y);
    ctx.closePath();
    ctx.fill();
    ctx.stroke();
  }
  ctx.restore();
}

// Where an alert of the bridge began: a flag at the foot.
function alerts(u, paint, { alerts: all }) {
  const { ctx, bbox } = u;
  const size = 5 * devicePixelRatio, foot = bbox.top + bbox.height;
  ctx.save();
  ctx.fillStyle = ctx.strokeStyle = paint.odd;
  ctx.lineWidth = devicePixelRatio;
  for (const { time: when } of visible(u, all)) {
    const x = u.valToPos(when, "x", true);
    ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
    stroke(ctx, x, bbox.top, x, foot);
    ctx.beginPath();
    ctx.moveTo(x - size, foot);
    ctx.lineTo(x + size, foot);
    ctx.lineTo(x, foot - 1.7 * size);
    ctx.fill();
  }
  ctx.restore();
}

const visible = (u, all) => all.filter(({ time: when }) => when >= u.scales.x.min && when <= u.scales.x.max);

function stroke(ctx, x, y, toX, toY) {
  ctx.beginPath();
  ctx.moveTo(x, y);
  ctx.lineTo(toX, toY);
  ctx.stroke();
}

// The colours of the style sheet, which has one set for light and one for dark.
function colours(box) {
  const style = getComputedStyle(box);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  const names = ["ink", "faint", "grid", "ground", "future", "ahead", "ahead-band", "earlier", "earlier-band", "threshold", "odd"];
  const family = style.fontFamily;
  return {
    ...Object.fromEntries(names.map((name) => [name, of(name)])),
    models: [1, 2, 3, 4, 5, 6].map((i) => of(`model-${i}`)),
    font: `12px ${family}`,
    scaled: `${12 * devicePixelRatio}px ${family}`,
  };
}

// What the cursor is at, in words: "Tue 24 Nov 17:05: actual 12.3, expected 11 (9 to 14)".
export function reading(moment_, values, lines) {
  const parts = lines
    .filter(({ key, kind }) => key in values && !kind.endsWith("edge"))
    .map(({ key, label, kind }) => {
      const group = kind.split("-")[0];
      const edges = lines.filter((line) => line.kind === `${group}-edge` && line.key in values).map((line) => values[line.key]);
      const band = edges.length && kind.endsWith("median") ? ` (${number(Math.min(...edges))} to ${number(Math.max(...edges))})` : "";
      return { label, text: `${number(values[key])}${band}` };
    });
  return { when: moment(moment_), parts };
}

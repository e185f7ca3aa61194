// A sparkline: the past as a line, what is expected after it dotted, a mark at now.

import { svg } from "./dom.js";

const WIDTH = 120, HEIGHT = 28, EDGE = 3, STEADY = 0.1;

export function spark({ past, ahead, past_step: before, ahead_step: after }) {
  const known = [...past, ...ahead].filter((value) => value !== null);
  const box = svg("svg", { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  if (!known.length) return box;
  const [low, high] = spread(Math.min(...known), Math.max(...known));
  const back = Math.max(0, past.length - 1) * before;
  const whole = back + ahead.length * after || 1;
  const x = (seconds) => EDGE + ((back + seconds) / whole) * (WIDTH - 2 * EDGE);
  const y = (value) => HEIGHT - EDGE - ((value - low) / (high - low)) * (HEIGHT - 2 * EDGE);
  const seen = past.map((value, i) => [x((i - past.length + 1) * before), value]);
  const last = seen.findLast(([, value]) => value !== null);
  const coming = ahead.map((value, i) => [x((i + 1) * after), value]);
  box.append(
    svg("path", { class: "now", d: `M${x(0).toFixed(1)} 0V${HEIGHT}` }),
    svg("path", { class: "past", d: path(seen, y) }),
    svg("path", { class: "ahead", d: path(last ? [last, ...coming] : coming, y) }),
  );
  return box;
}

// What is as good as steady looks it: a change of less than STEADY of the value doesn't fill the height.
function spread(low, high) {
  const room = Math.max(0, STEADY * Math.max(Math.abs(low), Math.abs(high)) - (high - low)) / 2 || (high === low ? 1 : 0);
  return [low - room, high + room];
}

// A line through the points; a gap where a value is missing.
function path(points, y) {
  let pen = "M";
  return points.map(([x, value]) => {
    if (value === null) { pen = "M"; return ""; }
    const drawn = `${pen}${x.toFixed(1)} ${y(value).toFixed(1)}`;
    pen = "L";
    return drawn;
  }).join("");
}

// How numbers, spans, times, labels and verdicts are worded: the same everywhere.

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const exact = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const dayAndClock = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

export const TRUST = {
  good: { word: "good", why: "clearly better than repeating the past, and the band holds what it says" },
  fair: { word: "fair", why: "no worse than repeating the past" },
  poor: { word: "poor", why: "worse than repeating the past, or the band is wrong" },
  unknown: { word: "unknown", why: "too few predictions have been checked yet" },
};

// 0.1234 -> "0.123", 12345 -> "12.3 k": three digits, which is what a forecast is good for. null -> "–".
export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 1e-3) return value.toExponential(1).replace("e-", "e−");
  for (const [from, unit] of [[1e12, " T"], [1e9, " G"], [1e6, " M"], [1e4, " k"]]) {
    if (size >= from) return short(value / (unit === " k" ? 1e3 : from)) + unit;
  }
  return size >= 1000 ? value.toFixed(0) : short(value);
}

const short = (value) => String(Number(value.toPrecision(3))).replace("-", "−");

// 7800 -> "2 h 10 m": two units at most.
export function span(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  const [days, hours, rest] = [Math.floor(minutes / 1440), Math.floor(minutes / 60) % 24, minutes % 60];
  const parts = days ? [[days, "d"], [hours, "h"]] : [[hours, "h"], [rest, "m"]];
  return parts.filter(([count]) => count).map(([count, unit]) => `${count} ${unit}`).join(" ");
}

// "1h30m" -> 5400: Prometheus' words for a duration.
export function seconds(text) {
  const units = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86400, w: 604800, y: 31536000 };
  return [...text.matchAll(/(\d+)(ms|[smhdwy])/g)].reduce((sum, [, count, unit]) => sum + count * units[unit], 0);
}

export const time = (unix) => clock.format(unix * 1000);
export const second = (unix) => exact.format(unix * 1000);
export const moment = (unix) => dayAndClock.format(unix * 1000);

export function zone() {
  const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
  const minutes = -new Date().getTimezoneOffset();
  const sign = minutes < 0 ? "−" : "+";
  const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60];
  const offset = minutes ? `UTC${sign}${hours}${rest ? `:${String(rest).padStart(2, "0")}` : ""}` : "UTC";
  return timeZone === "UTC" || timeZone === offset ? offset : `${timeZone} (${offset})`;
}

// What tells a series apart, without what every series has; the whole set of labels is `selector`.
export function named(labels, same = {}) {
  const pairs = Object.entries(labels).filter(([name]) => !Object.hasOwn(same, name) && name !== "__name__");
  const shown = pairs.length ? pairs : Object.entries(labels);
  return shown.map(([name, value]) => value || `${name}=""`).join(" · ") || "the only series";
}

// "15m" -> "15 m", "1h30m" -> "1 h 30 m"
export const spaced = (duration) => duration.replace(/(\d+)([a-z]+)/g, "$1 $2 ").trim();

export const selector = (labels) =>
  `{${Object.entries(labels).map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(", ")}}`;

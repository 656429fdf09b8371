// Numbers, durations and times as people read them; times in the zone of the config.
"use strict";

const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;

/** Four significant digits; no decimals from 10,000 on. The tables hold all digits. */
function number(value) {
  const size = Math.abs(value);
  if (size >= 9999.5) return Math.round(value).toLocaleString("en-US");
  if (size !== 0 && size < 1e-4) return value.toExponential(3).replace(/\.?0*e-(\d)$/, "e-0$1").replace(/\.?0+e/, "e");
  return String(Number(value.toPrecision(4)));
}

const counted = (count, name) => `${count.toLocaleString("en-US")} ${name}${count === 1 ? "" : "s"}`;

/** A share to a tenth of a percent; never `100%` of what is not all. */
const percent = (share) => `${share < 1 ? Math.min(99.9, Math.round(share * 1000) / 10) : Math.round(share * 1000) / 10}%`;

/** Seconds as `6 h 3 min`: the two largest units that are not 0. */
function duration(seconds) {
  const sign = seconds < 0 ? "-" : "", size = Math.abs(seconds);
  if (size < 60) return `${sign}${number(size)} s`;
  const [large, small] = size < 3600 ? [[60, "min"], [1, "s"]] : size < 86400 ? [[3600, "h"], [60, "min"]] : [[86400, "d"], [3600, "h"]];
  const whole = Math.round(size / small[0]) * small[0];
  const rest = Math.round((whole % large[0]) / small[0]);
  return `${sign}${Math.floor(whole / large[0])} ${large[1]}${rest ? ` ${rest} ${small[1]}` : ""}`;
}

const valued = (value, unit) => (unit === "s" ? duration(value) : number(value));

/** `0.74830 -> 0.74834`: an old and a new value, with as many digits as show that they differ. */
function moved(old, value, unit) {
  const text = (amount) => (has(amount) ? valued(amount, unit) : "no value");
  if (!has(old) || !has(value) || old === value || text(old) !== text(value)) return `${text(old)} -> ${text(value)}`;
  for (let digits = 5; digits < 17; digits++) {
    const [one, other] = [old, value].map((amount) => amount.toPrecision(digits));
    if (one !== other) return `${one} -> ${other}` + (unit ? ` ${unit}` : "");
  }
  return `${text(old)} -> ${text(value)}`;
}

const has = (value) => value !== null && value !== undefined;
const span = (low, high, unit) => `${valued(low, unit)} .. ${valued(high, unit)}`;

/** The clock of a zone: its calendar fields of an instant, and the instant of its calendar fields. */
function clock(zone) {
  const fields = { year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric" };
  const form = new Intl.DateTimeFormat("en-US", { timeZone: zone, hourCycle: "h23", calendar: "gregory", ...fields });
  const civil = (ms) => {
    const at = {};
    for (const { type, value } of form.formatToParts(ms)) at[type] = Number(value);
    return at;
  };
  const wall = (ms) => {
    const at = civil(ms);
    return Date.UTC(at.year, at.month - 1, at.day, at.hour, at.minute, at.second);
  };
  // A time that clocks show twice is its first instant; one that they skip is the instant after the gap.
  const instant = (year, month, day, hour = 0, minute = 0) => {
    const asked = Date.UTC(year, month - 1, day, hour, minute);
    const candidates = [asked - DAY, asked + DAY].map((near) => asked - (wall(near) - near));
    return candidates.find((ms) => wall(ms) === asked) ?? candidates[0];
  };
  return { civil, wall, instant };
}

const two = (count) => String(count).padStart(2, "0");

/** `2013-12-31`, with the time of day unless it is midnight; a time that clocks show twice has its zone's name. */
function timeText(zoned, ms, withTime = false) {
  const at = zoned.civil(ms), date = `${at.year}-${two(at.month)}-${two(at.day)}`;
  if (!withTime && at.hour === 0 && at.minute === 0) return date;
  const here = zoned.wall(ms), twice = zoned.wall(ms - HOUR) === here || zoned.wall(ms + HOUR) === here;
  return `${date} ${two(at.hour)}:${two(at.minute)}${twice ? ` (${utcOffset(here - ms)})` : ""}`;
}

function utcOffset(ms) {
  const minutes = Math.round(Math.abs(ms) / MINUTE);
  return `UTC${ms < 0 ? "-" : "+"}${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`;
}

/** `days` calendar days later or earlier, at the same time of day. */
function daysLater(zoned, ms, days) {
  const at = zoned.civil(ms);
  return zoned.instant(at.year, at.month, at.day + days, at.hour, at.minute);
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const STEPS = [
  ["minute", 15, 15 * MINUTE], ["minute", 30, 30 * MINUTE], ["hour", 1, HOUR], ["hour", 3, 3 * HOUR], ["hour", 6, 6 * HOUR],
  ["hour", 12, 12 * HOUR], ["day", 1, DAY], ["day", 2, 2 * DAY], ["week", 1, 7 * DAY], ["week", 2, 14 * DAY], ["month", 1, 30 * DAY],
  ["month", 3, 91 * DAY], ["month", 6, 182 * DAY], ["year", 1, 365 * DAY], ["year", 5, 5 * 365 * DAY], ["year", 20, 20 * 365 * DAY],
];

/** Ticks between two instants, at most `most`: their instant, a label, and what stands below (a date or year) where it changes. */
function timeTicks(zoned, from, to, most) {
  const [unit, count] = STEPS.find((step) => (to - from) / step[2] <= most) ?? STEPS[STEPS.length - 1];
  const instants = [...new Set(tickInstants(zoned, unit, count, from, to))].filter((ms) => ms >= from && ms <= to);
  let before = null;
  return instants.map((ms) => {
    const { label, below } = tickTexts(zoned.civil(ms), unit);
    const tick = { ms, label, below: below === before ? "" : below };
    before = below;
    return tick;
  });
}

function* tickInstants(zoned, unit, count, from, to) {
  const first = zoned.civil(from), last = zoned.civil(to);
  if (unit === "year" || unit === "month") {
    const months = unit === "year" ? 12 * count : count, end = last.year * 12 + last.month;
    const begin = Math.floor((first.year * 12 + first.month - 1) / months) * months;
    for (let month = begin; month < end; month += months) yield zoned.instant(Math.floor(month / 12), (month % 12) + 1, 1);
    return;
  }
  const days = unit === "week" ? 7 * count : unit === "day" ? count : 1;
  const dayNumber = (at) => Date.UTC(at.year, at.month - 1, at.day) / DAY;
  // Day 4 of the epoch was a Monday: weeks begin on Mondays.
  const begin = Math.floor((dayNumber(first) - 4) / days) * days + 4;
  for (let day = begin; day <= dayNumber(last); day += days) {
    const minutes = unit === "hour" ? 60 * count : unit === "minute" ? count : 24 * 60;
    for (let minute = 0; minute < 24 * 60; minute += minutes) yield zoned.instant(1970, 1, 1 + day, 0, minute);
  }
}

function tickTexts(at, unit) {
  const date = `${MONTHS[at.month - 1]} ${at.day}`;
  if (unit === "year") return { label: String(at.year), below: "" };
  if (unit === "month") return { label: MONTHS[at.month - 1], below: String(at.year) };
  if (unit === "day" || unit === "week") return { label: date, below: String(at.year) };
  return { label: `${two(at.hour)}:${two(at.minute)}`, below: `${date}, ${at.year}` };
}

const ROUND_SECONDS = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000];

/** Values for the ticks of a vertical axis, at most about `most`; of durations whole minutes, hours or days. */
function valueTicks(low, high, unit, most) {
  if (unit !== "s" || high - low < 2) return d3.ticks(low, high, most);
  const step = ROUND_SECONDS.find((seconds) => (high - low) / seconds <= most) ?? d3.tickStep(low, high, most);
  return d3.range(Math.ceil(low / step) * step, high + step / 1e6, step);
}

// What the page knows: its description, and the series of a slice and a grain, unpacked when first looked at.

const element = (id) => document.getElementById(id);
const meta = JSON.parse(element("meta").textContent);
const zoned = (() => {
  try {
    return clock(meta.timezone);
  } catch {
    return clock("UTC"); // a zone that this browser does not know
  }
})();

const TUMBLING = ["hour", "day", "week", "month"];
const isTumbling = (grain) => TUMBLING.includes(grain.name);
const sliceText = (slice) => (slice.by.length ? slice.name : "the whole");

/** Why something cannot be shown, in words for the reader. */
class Missing extends Error {}

async function unpacked(text) {
  const packed = Uint8Array.from(atob(text.trim()), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

/** The data of a chunk; instants are deltas there, in seconds, and milliseconds here. */
function chunkOf(raw) {
  const instants = (deltas) => {
    let at = 0;
    return deltas.map((delta) => (at += delta) * SECOND);
  };
  return { ...raw, start: instants(raw.start), end: instants(raw.end), count: raw.start.length };
}

const chunks = new Map();

/** The chunk of a slice and a grain (a position in `meta.grains`, or the name of windows of any size: `6h/1h`). */
function chunk(view) {
  const key = JSON.stringify([view.slice, view.grain, view.asOf, grainOf(view).merged ? view.sli : null]);
  if (!chunks.has(key)) {
    const loading = meta.live ? fetched(view) : stored(view);
    chunks.set(key, loading);
    loading.catch(() => chunks.delete(key));
  }
  return chunks.get(key);
}

async function stored(view) {
  const holder = element(`chunk-${view.slice}-${view.grain}`);
  if (!holder) {
    const newest = await newestOf(view);
    if (newest) return newest;
    const what = `${grainOf(view).label} of ${sliceText(meta.slices[view.slice])}`;
    throw new Missing(`This file does not hold: ${what}. Run “sli serve” with the config: it shows every slice and every window.`);
  }
  return chunkOf(await unpacked(holder.textContent));
}

let newestWindows = null;

/** A chunk of one window, the newest: all that a file holds of most slices where there are many. Null if not even that. */
async function newestOf(view) {
  const holder = element("newest");
  if (!holder?.textContent.trim()) return null;
  newestWindows ??= unpacked(holder.textContent).then(chunkOf);
  const all = await newestWindows, i = all.grain === view.grain ? all.slice.indexOf(view.slice) : -1;
  if (i < 0) return null;
  const only = (list) => list.slice(i, i + 1);
  const slis = all.slis.map((sli) => ({ ...sli, old: {}, ...Object.fromEntries(COLUMNS.map((name) => [name, only(sli[name])])) }));
  const columns = Object.fromEntries(["start", "end", "predictions", "labelled", "final"].map((name) => [name, only(all[name])]));
  return { ...columns, slis, count: 1, onlyNewest: true };
}

const COLUMNS = ["value", "low", "high", "missingLow", "missingHigh", "verdict", "why"];

async function fetched(view) {
  const slice = meta.slices[view.slice];
  const asked = new URLSearchParams({ slice: slice.name, by: slice.by.join(","), grain: grainOf(view).name });
  if (view.asOf) asked.set("as_of", view.asOf);
  if (grainOf(view).merged) asked.set("sli", meta.slis[view.sli].name); // merging all of them would take seconds
  let answer;
  try {
    answer = await fetch(`${meta.live.data}?${asked}`);
  } catch {
    throw new Missing("The server does not answer. Is “sli serve” still running?");
  }
  if (!answer.ok) throw new Missing((await answer.text()).slice(0, 500) || `The server answered ${answer.status}.`);
  return chunkOf(await answer.json());
}

const grainOf = (view) => meta.grains[view.grain];

/** The position of the grain of 7 days that slides, which shows the course of many short windows; -1 if there is none. */
const weekGrain = () => meta.grains.findIndex((grain) => grain.name.startsWith("7d/"));

/** Where windows stand on the axis: the middle of an hour or day, the end of a window that slides or grows. */
function places(data, grain) {
  return isTumbling(grain) ? data.start.map((start, i) => (start + data.end[i]) / 2) : data.end;
}

/** The usual distance of two windows: the smallest of the newest ones. */
function usualStep(data) {
  const ends = data.end.slice(-50);
  return d3.min(d3.pairs(ends, (one, next) => next - one).filter((step) => step > 0)) ?? data.end[0] - data.start[0];
}

/** For each window whether it follows the window before it without a gap. */
function follows(data, grain) {
  // A day may have 25 hours, so a step up to 5 % longer is as usual; months differ more, but they tumble.
  const usual = usualStep(data) * 1.05 + (usualStep(data) >= DAY ? HOUR : 0);
  return data.start.map((start, i) => i > 0 && (isTumbling(grain) ? start === data.end[i - 1] : data.end[i] - data.end[i - 1] <= usual));
}

/** The windows of a chunk for one SLI that lie between two instants, with what the chart and the readout show of them. */
function windows(data, grain, sli, from, to) {
  // A list without any number and a text without any letter are empty; bounds of missing labels that equal the value are null.
  const { value, low, high, missingLow, missingHigh, verdict, why, reasons, old } = data.slis[sli];
  const joined = follows(data, grain), at = places(data, grain);
  const rows = [];
  for (let i = 0; i < data.count; i++) {
    if (data.end[i] <= from || data.end[i] > to) continue;
    rows.push({
      at: at[i], start: data.start[i], end: data.end[i], joined: rows.length > 0 && joined[i], final: data.final[i] === "1",
      value: value[i], low: low[i], high: high[i], missingLow: missingLow[i], missingHigh: missingHigh[i], verdict: verdict[i],
      reason: reasons[parseInt(why[i], 36)], old: old[i], restated: i in old, predictions: data.predictions[i], labelled: data.labelled[i],
    });
  }
  return rows;
}

/** `2013-12-31`, `2013-12-31 17:00`, `week of 2013-12-30`, `2013-12`, or `7d until 2014-01-01`. */
function windowText(row, grain) {
  if (grain.name === "hour") return timeText(zoned, row.start, true);
  if (grain.name === "day") return timeText(zoned, row.start);
  if (grain.name === "week") return `week of ${timeText(zoned, row.start)}`;
  if (grain.name === "month") return timeText(zoned, row.start).slice(0, 7);
  if (grain.name === "cumulative") return `all until ${timeText(zoned, row.end)}`;
  return `${grain.name.split("/")[0]} until ${timeText(zoned, row.end)}`;
}

/** The verdict in words; none where there is no value. */
const verdictOf = (row) => (has(row.value) && VERDICTS[row.verdict]) || "";
const VERDICTS = { m: "✓ met", b: "× breached", u: "? undecided" };

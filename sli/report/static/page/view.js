// A view: which SLI, slice, grain and stretch of time the chart shows. Each view has its address.

const RANGES = [["2d", 2, "2 days"], ["14d", 14, "14 days"], ["60d", 60, "60 days"], ["365d", 365, "a year"], ["all", null, "all"]];
const newest = meta.newest;

/** The view of an address; what it does not name is as the page first shows it, and so is what it names wrongly, which `wrong` tells. */
function viewOf(params, wrong = []) {
  const view = { ...meta.first, range: meta.first.range ?? "60d", end: null, asOf: params.get("as_of") };
  const tell = (what, name, shows) => wrong.push(`there is no ${what} '${name.slice(0, 80)}'; ${shows} is shown`);
  const position = (what, name, list, test, otherwise, text) => {
    const found = name === null ? -1 : list.findIndex(test);
    if (name !== null && found < 0) tell(what, name, text(list[otherwise]));
    return found < 0 ? otherwise : found;
  };
  const asked = (name) => params.get(name) || null, named = asked("sli");
  view.sli = position("SLI", named, meta.slis, (sli) => sli.name === named, view.sli, (sli) => sli.name);
  const name = asked("slice"), by = params.get("by"), isAsked = (slice) => slice.name === name && (by === null || slice.by.join(",") === by);
  view.slice = position("slice", name, meta.slices, isAsked, view.slice, sliceText);
  const grain = asked("grain");
  const [, size, every] = /^(\d+[mhd])\/(\d+[mhd])$/.exec(grain ?? "") ?? [null, params.get("size"), params.get("every")];
  if (meta.live && size) view.grain = grainOfSize(size, every);
  else view.grain = position("grain", grain, meta.grains, (one) => one.name === grain, view.grain, (one) => one.label);
  const range = asked("range");
  if (RANGES.some(([name]) => name === range)) view.range = range;
  else if (range !== null) tell("range", range, RANGES.find(([name]) => name === view.range)[2]);
  const end = Date.parse(params.get("end") ?? "");
  if (!Number.isNaN(end) && end < newest) view.end = end;
  return view;
}

/** The position of the grain of windows of any size, which the server merges when asked; it joins `meta.grains`. */
function grainOfSize(size, every) {
  const name = `${size}/${every || size}`, found = meta.grains.findIndex((grain) => grain.name === name);
  return found >= 0 ? found : meta.grains.push({ name, label: `${size}, every ${every || size}`, merged: true }) - 1;
}

function paramsOf(view) {
  const params = new URLSearchParams({ sli: meta.slis[view.sli].name }), slice = meta.slices[view.slice];
  if (slice?.by.length) {
    params.set("slice", slice.name);
    params.set("by", slice.by.join(","));
  }
  params.set("grain", grainOf(view).name);
  params.set("range", view.range);
  if (view.end) params.set("end", new Date(view.end).toISOString());
  if (view.asOf) params.set("as_of", view.asOf);
  return params;
}

const addressed = (wrong) => viewOf(new URLSearchParams(meta.live ? location.search : location.hash.slice(1)), wrong);

const addressOf = (view) => `${meta.live ? "?" : "#"}${paramsOf(view)}`;

/** Puts the view into the address; a new entry of the history, so that Back leads to the view before. */
function remember(view) {
  const address = addressOf(view);
  if (address !== (meta.live ? location.search : location.hash)) history.pushState(null, "", address);
}

/** The stretch of time of a view: calendar days up to its end, or all since the first window. */
function stretch(view, data) {
  const grain = grainOf(view), days = RANGES.find(([range]) => range === view.range)[1];
  const first = data.count ? (isTumbling(grain) ? data.start[0] : data.end[0] - usualStep(data)) : newest - DAY;
  const last = Math.max(newest, data.count ? data.end[data.count - 1] : newest);
  if (days === null) return { from: first, to: last, first, last };
  const to = view.end ?? last;
  return { from: Math.max(daysLater(zoned, to, -days), Math.min(first, to - HOUR)), to, first, last };
}

/** The view one range earlier (-1) or later (1), or null if there is nothing there. */
function shifted(view, data, direction) {
  const days = RANGES.find(([range]) => range === view.range)[1], { from, to, first, last } = stretch(view, data);
  if (days === null || (direction < 0 ? from <= first : to >= last)) return null;
  const end = daysLater(zoned, to, direction * days);
  return { ...view, end: end >= last ? null : end };
}

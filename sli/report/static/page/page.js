// The page: shows a view, follows the pointer and the keys, and puts the judgement and the table beside the chart.

const chart = element("chart"), readout = element("readout");
let shown = null; // what the chart shows now: its view, rows and frame
let focus = 0; // the window that the reader looks at

/** Shows a view: the chart, its controls and words, and the judgement of its SLI. */
async function show(view) {
  const asked = (show.last = Symbol("view"));
  markCard(view.sli);
  judge(view.sli);
  if (element("show-now")) element("show-now").href = addressOf({ ...view, asOf: null });
  let series;
  try {
    series = await seriesOf(view);
  } catch (problem) {
    if (asked === show.last) explain(view, problem);
    return;
  }
  if (asked !== show.last) return; // another view was asked for meanwhile
  drawControls(element("controls"), view, series.data, go);
  shown = { view, ...series, box: drawChart(chart, series) };
  element("chart-problem").hidden = true;
  chart.classList.remove("empty");
  title(shown);
  legend(shown);
  look(shown.rows.length - 1);
  drawTable();
  if (!meta.live) (window.requestIdleCallback ?? setTimeout)(() => unpackAhead(view));
}

/** Unpacks the other grains of the slice that is shown, so that they are at hand when asked for. */
function unpackAhead(view) {
  meta.grains.forEach((_, grain) => chunk({ ...view, grain }).catch(() => null));
}

/** Shows the view of the address; if the address names what is not there, says so and corrects it. */
function arrive() {
  const wrong = [], view = addressed(wrong);
  if (wrong.length) history.replaceState(null, "", addressOf(view));
  correct(wrong);
  show(view);
}

function correct(wrong) {
  const text = wrong.join("; ");
  element("corrected").textContent = text && `${text[0].toUpperCase()}${text.slice(1)}.`;
  element("corrected").hidden = !text;
}

function go(view) {
  correct([]);
  remember(view);
  show(view);
}

/** The rows of a view, and those of the 7-day line where its windows would be too narrow to draw as a line. */
async function seriesOf(view) {
  const data = await chunk(view), grain = grainOf(view), sli = meta.slis[view.sli];
  let { from, to } = stretch(view, data), trend = null;
  const rows = windows(data, grain, view.sli, from, to);
  // Windows of 7 days that slide, or that grow, run smoothly however many there are.
  const week = weekGrain(), smooth = view.grain === week || grain.name === "cumulative";
  if (!smooth && (chart.clientWidth || 800) / Math.max(1, rows.length) < NARROWEST) {
    const weekly = week < 0 ? null : await chunk({ ...view, grain: week }).catch(() => null);
    // The newest 7 days may end after the newest hour.
    if (weekly && !view.end) to = Math.max(to, d3.max(weekly.end) ?? to);
    trend = weekly ? windows(weekly, meta.grains[week], view.sli, from, to) : [];
  }
  return { data, rows, trend, grain, sli, from, to };
}

/** In words why there is no chart. */
function explain(view, problem) {
  if (!(problem instanceof Missing)) console.error(problem);
  shown = null;
  drawControls(element("controls"), view, null, go);
  chart.classList.add("empty");
  chart.replaceChildren();
  readout.replaceChildren();
  element("legend").replaceChildren();
  element("chart-problem").textContent = problem instanceof Missing ? problem.message : `This could not be drawn: ${problem.message}`;
  element("chart-problem").hidden = false;
  title({ view });
  element("chart-hint").textContent = "";
  drawTable();
}

function title({ view, data, rows, box }) {
  const words = [meta.slis[view.sli].name, grainOf(view).label, sliceText(meta.slices[view.slice])];
  element("chart-title").textContent = words.join(" · ");
  const start = box && rows.some((row) => has(row.value)) ? box.y.domain()[0] : 0;
  const cut = start > 0 ? ` The vertical axis starts at ${valued(Number(start.toPrecision(2)), box.unit)}, not at 0.` : "";
  const part = data?.onlyNewest ? " This file holds only the newest window of this slice; “sli serve” shows its history." : "";
  element("chart-hint").textContent = `Move over the chart, or use the arrow keys.${cut}${part}`;
  chart.setAttribute("aria-label", `${words.join(", ")}: arrow keys walk through the windows`);
}

/** Looks at a window: marks it in the chart and reads it out below. */
function look(position) {
  if (!shown) return;
  focus = Math.max(0, Math.min(shown.rows.length - 1, position));
  const row = shown.rows[focus];
  drawCursor(chart, shown.box, row);
  chart.setAttribute("aria-valuemax", String(Math.max(0, shown.rows.length - 1)));
  chart.setAttribute("aria-valuenow", String(focus));
  chart.setAttribute("aria-valuetext", row ? windowText(row, shown.grain) : "no window");
  readout.replaceChildren(...(row ? sentence(row) : ["No window ends in this range."]));
}

/** The parts of the readout: what is known of a window. */
function sentence(row) {
  const { unit, name } = shown.sli, part = (text, kind) => [textNode("span", text, kind), " "];
  const value = has(row.value) ? `${name} ${valued(row.value, unit)}` : `${name}: no value${row.reason ? ` (${row.reason})` : ""}`;
  const parts = [...part(windowText(row, shown.grain), "when"), ...part(value, "value")];
  if (verdictOf(row)) parts.push(...part(verdictOf(row), `verdict-${row.verdict}`));
  const chance = `${percent(meta.level)} interval`;
  if (has(row.low)) parts.push(...part(`${chance} ${span(row.low, row.high, unit)}`));
  else if (has(row.value)) parts.push(...part("no interval"));
  if (has(row.missingLow) && !(row.final && row.missingLow === row.missingHigh)) {
    parts.push(...part(`${row.final ? "the missing labels leave" : "if labels arrive"} ${span(row.missingLow, row.missingHigh, unit)}`));
  }
  const share = row.predictions ? `, ${percent(row.labelled / row.predictions)} labelled` : "";
  parts.push(...part(`${counted(row.predictions, "prediction")}${share}`));
  parts.push(...(row.final ? part("final") : part("provisional", "provisional")));
  if (row.restated) parts.push(...part(`◆ restated by the last run: ${moved(row.old, row.value, unit)}`));
  return parts;
}

/** The marks that occur in the chart, and what they mean. */
function legend({ rows, trend, sli, box }) {
  const some = (test) => rows.some(test), valuedRows = rows.filter((row) => has(row.value));
  const items = [];
  if (trend) {
    items.push(["speck", "M8,6h0", "a dot a window"]);
    if (trend.length) items.push(["trend line", "M0,6h16", "7 days, merged from the tiles"]);
  }
  // A single window has no line.
  const finals = valuedRows.filter((row) => row.final), alone = valuedRows.length === 1;
  if (!trend && finals.length) items.push(alone ? ["dot", disc(8, 6, 3), "final"] : ["line", "M0,6h16", "final"]);
  if (valuedRows.length > finals.length) items.push(alone ? ["dot hollow", disc(8, 6, 3.5), "provisional"] : ["line provisional", "M0,6h16", "provisional"]);
  if (some((row) => !row.final)) items.push(["provisional-ground", "M0,0h16v12h-16Z", "labels may still come"]);
  const interval = `${percent(meta.level)} interval: what chance leaves open`;
  if ((trend ?? rows).some((row) => has(row.low))) items.push(["band", "M0,1h16v10h-16Z", interval]);
  const breach = trend ? ["speck breached", "M8,6h0"] : ["breach", cross(8, 6, 4)];
  if (some((row) => row.verdict === "b")) items.push([...breach, "breached: surely on the wrong side of the objective"]);
  if (some((row) => row.restated)) items.push(["restated", diamond(8, 6, 4.5), "restated by the last run"]);
  if (!trend && some((row) => !has(row.value))) items.push(["no-value", "M8,3v6", "no value; the line is broken"]);
  if (sli.objective && valuedRows.length && !box.beyond) items.push(["objective", "M0,6h16", "objective"]);
  element("legend").replaceChildren(...items.map(legendItem));
}

function legendItem([kind, d, text]) {
  const item = document.createElement("li");
  const sample = d3.select(item).append("svg").attr("width", 16).attr("height", 12).attr("aria-hidden", "true");
  sample.append("path").attr("class", kind).attr("d", d);
  item.append(text);
  return item;
}

// The same as a table, made when it is opened; a page of it at a time, since a year has thousands of hours.

const TABLE_ROWS = 50;

function drawTable(page = 0) {
  const details = element("table");
  details.querySelector("div")?.remove();
  if (!details.open || !shown) return;
  const newestFirst = shown.rows.slice().reverse(), kept = newestFirst.slice(page * TABLE_ROWS, (page + 1) * TABLE_ROWS);
  const place = document.createElement("div"), table = document.createElement("table");
  const head = table.createTHead().insertRow(), body = table.createTBody();
  const interval = `${percent(meta.level)} interval`, rest = ["predictions", "labelled", "state", "verdict"];
  for (const name of ["window", shown.sli.name, interval, "if labels arrive", ...rest]) head.append(Object.assign(textNode("th", name), { scope: "col" }));
  for (const row of kept) fillRow(body.insertRow(), row);
  place.className = "scroll";
  place.tabIndex = 0;
  place.setAttribute("role", "region");
  place.setAttribute("aria-label", "The windows of the chart as a table");
  place.append(table, pager(page, newestFirst.length));
  details.append(place);
}

function fillRow(line, row) {
  const unit = shown.sli.unit, range = (low, high) => (has(low) ? span(low, high, unit) : "");
  const texts = [
    has(row.value) ? valued(row.value, unit) : `- (${row.reason ?? "no value"})`,
    range(row.low, row.high), range(row.missingLow, row.missingHigh),
    row.predictions.toLocaleString("en-US"), row.labelled.toLocaleString("en-US"),
    row.final ? "final" : "provisional", verdictOf(row),
  ];
  line.append(Object.assign(textNode("th", windowText(row, shown.grain)), { scope: "row" }), ...texts.map((text) => textNode("td", text)));
}

function pager(page, count) {
  const place = document.createElement("p"), first = page * TABLE_ROWS + 1, last = Math.min(count, first + TABLE_ROWS - 1);
  if (count > TABLE_ROWS) {
    place.append(button("newer", "← newer", () => drawTable(page - 1), page > 0));
    place.append(button("older", "older →", () => drawTable(page + 1), last < count));
  }
  place.append(` ${count ? `${first} to ${last} of ` : ""}${counted(count, "window")}`);
  return place;
}

// Cards and judgement, which the server wrote.

function markCard(sli) {
  for (const card of document.querySelectorAll(".card")) card.setAttribute("aria-pressed", String(Number(card.dataset.sli) === sli));
}

const judgements = new Map();

/** Puts the judgement of an SLI into its section. */
function judge(sli) {
  const section = element("judgement");
  if (!section) return;
  const current = Number(section.dataset.sli);
  if (!judgements.size) judgements.set(current, [...section.childNodes]);
  if (sli !== current) {
    const template = element(`judgement-${sli}`);
    if (!judgements.has(sli) && template) judgements.set(sli, [...template.content.cloneNode(true).childNodes]);
    section.replaceChildren(...(judgements.get(sli) ?? []));
    section.dataset.sli = String(sli);
  }
  const table = section.querySelector("table.slices");
  if (table) drawSlices(table, sliceLink);
}

/** A link to the view of another slice: its address to copy, and to show it at once. */
function sliceLink(slice, text) {
  const view = () => ({ ...(shown?.view ?? addressed()), slice });
  const link = Object.assign(textNode("a", text), { href: addressOf(view()) });
  link.addEventListener("click", (event) => {
    event.preventDefault();
    go(view());
    element("over-time").scrollIntoView();
  });
  return link;
}

// The keys, the pointer, the window's size, and the history.

const STEP_OF_KEY = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageUp: -7, PageDown: 7 };

function pressed(event) {
  if (!shown || event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key in STEP_OF_KEY) look(focus + STEP_OF_KEY[event.key]);
  else if (event.key === "Home") look(0);
  else if (event.key === "End") look(shown.rows.length - 1);
  else return;
  event.preventDefault();
}

function pointed(event) {
  if (!shown?.rows.length) return;
  const [x] = d3.pointer(event, chart);
  look(d3.bisector((row) => row.at).center(shown.rows, shown.box.x.invert(x)));
}

function resized() {
  if (!shown || !chart.clientWidth || chart.clientWidth === shown.box.width) return;
  clearTimeout(resized.later);
  resized.later = setTimeout(() => show(shown.view), 100);
}

/** Says when a run has published since the page was made; asks twice a minute, and not while nobody sees the page. */
function followRuns() {
  let run = meta.live.run ?? null;
  setInterval(async () => {
    if (document.hidden) return;
    const answer = await fetch(meta.live.health ?? "healthz").then((response) => response.json(), () => null);
    run ??= answer?.run ?? null;
    if (answer?.run && answer.run !== run) element("news").hidden = false;
  }, 30 * SECOND);
}

function listen() {
  chart.addEventListener("keydown", pressed);
  chart.addEventListener("pointermove", pointed);
  chart.addEventListener("pointerdown", pointed);
  element("table").addEventListener("toggle", () => drawTable());
  addEventListener("popstate", arrive);
  new ResizeObserver(resized).observe(chart);
  for (const card of document.querySelectorAll(".card")) {
    card.addEventListener("click", () => {
      go({ ...(shown?.view ?? addressed()), sli: Number(card.dataset.sli) });
      const box = chart.getBoundingClientRect();
      if (box.top > innerHeight - 100) element("over-time").scrollIntoView({ behavior: "auto", block: "start" });
    });
  }
}

document.documentElement.classList.add("scripted");
if (meta.slis.length && meta.slices.length && meta.grains.length) {
  listen();
  arrive();
  if (meta.live && !addressed().asOf) followRuns();
}
if (element("outcomes")) unpacked(element("outcomes").textContent).then((outcomes) => drawFigures(element("figures"), outcomes));

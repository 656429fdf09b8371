// The chart over time: scales, then one function a layer. Colours and line styles are classes of page.css.

const NARROWEST = 3; // pixels a window; below, windows are dots, and the line is that of 7 days merged from the tiles
const STRIP = 22, GAP = 16; // the strip of labels: its height, and the distance to the chart above

const at = (x, y) => `${x.toFixed(1)},${y.toFixed(1)}`;
const disc = (x, y, r) => `M${at(x - r, y)}a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0Z`;
const cross = (x, y, r) => `M${at(x - r, y - r)}l${2 * r},${2 * r}m0,${-2 * r}l${-2 * r},${2 * r}`;
const diamond = (x, y, r) => `M${at(x, y - r)}l${r},${r}l${-r},${r}l${-r},${-r}Z`;
/** A text in a chart: centred on a point, or ending or starting there. */
const write = (place, x, y, text, anchor = "middle") =>
  place.append("text").attr("x", x).attr("y", y).attr("text-anchor", anchor).text(text);
/** A straight line in a chart. */
const rule = (place, kind, x1, y1, x2, y2) =>
  place.append("line").attr("class", kind).attr("x1", x1).attr("y1", y1).attr("x2", x2).attr("y2", y2);
const speck = (x, y) => `M${at(x, y)}h0`;

/** Size, margins and scales of a chart of these rows. `trend`: the rows of the 7-day line where windows are too narrow. */
function frame(svg, { rows, trend, sli, from, to }) {
  const width = Math.max(280, svg.clientWidth || svg.parentNode.clientWidth), height = width < 600 ? 300 : 350;
  // The objective's label stands beside the chart, or in it where that would take too much of a phone's width.
  const room = sli.objective ? 16 + 7.5 * objectiveText(sli.objective, sli.unit).length : 0, inside = room > width / 6;
  const margin = { top: 24, right: inside ? 16 : Math.max(16, room), bottom: 40 + STRIP + GAP, left: 58 };
  const extent = valueExtent(trend ? rows.concat(trend) : rows, sli.objective, Boolean(trend));
  const ticks = valueTicks(...extent.domain, sli.unit, height < 320 ? 4 : 5).map((value) => Number(value.toPrecision(12)));
  margin.left = Math.max(margin.left, 14 + 6.6 * d3.max(ticks, (value) => valued(value, sli.unit).length));
  const bottom = height - margin.bottom, right = width - margin.right;
  const x = d3.scaleLinear([from, to], [margin.left, right]);
  const y = d3.scaleLinear(extent.domain, [bottom, margin.top]);
  return { width, height, margin, bottom, right, x, y, beyond: extent.beyond, unit: sli.unit, inside, ticks };
}

/**
 * What the vertical axis spans: all values, their intervals as far as they are not many times wider than the values'
 * own range, and the objective unless it is so far away that the values would become a flat line.
 */
function valueExtent(rows, objective, dense) {
  const values = rows.filter((row) => has(row.value));
  let [low, high] = d3.extent(values, (row) => row.value);
  if (low === undefined) [low, high] = objective ? [objective.bound, objective.bound] : [0, 1];
  if (!dense) [low, high] = withIntervals(values, low, high);
  let beyond = null;
  if (objective) {
    const reach = 2 * (high - low);
    if (high > low && objective.bound > high + reach) beyond = "above";
    else if (high > low && objective.bound < low - reach) beyond = "below";
    else [low, high] = [Math.min(low, objective.bound), Math.max(high, objective.bound)];
  }
  if (low === high) [low, high] = low === 0 ? [-1, 1] : [low - Math.abs(low) / 10, high + Math.abs(high) / 10];
  const space = (high - low) * 0.04, floor = low >= 0 && low - space < 0 ? 0 : low - space;
  return { domain: [floor, high + space], beyond };
}

function withIntervals(values, low, high) {
  const lows = d3.min(values, (row) => row.low ?? row.value) ?? low, highs = d3.max(values, (row) => row.high ?? row.value) ?? high;
  const range = Math.max(high - low, d3.median(values, (row) => (has(row.low) ? row.high - row.low : 0)) ?? 0);
  return [Math.max(lows, low - range), Math.min(highs, high + range)];
}

/** Draws all layers and returns the frame, for the cursor. */
function drawChart(svg, series) {
  const box = frame(svg, series);
  const root = d3.select(svg).attr("viewBox", `0 0 ${box.width} ${box.height}`).attr("height", box.height);
  root.selectAll("*").remove();
  definitions(root, box);
  const plot = root.append("g").attr("aria-hidden", "true");
  provisionalGround(plot, series, box);
  timeAxis(plot, series, box);
  if (series.rows.some((row) => has(row.value))) {
    valueAxis(plot, box);
    objectiveLine(plot, series.sli.objective, box);
  } else nothing(plot, series.rows, box);
  if (series.trend) denseDots(plot, series.rows, box);
  const line = series.trend ?? series.rows;
  if (line.length) lines(plot, line, box, series.trend !== null);
  if (!series.trend) marks(plot, series.rows, box);
  restatements(plot, series.rows, box);
  coverageStrip(plot, series, box);
  plot.append("g").attr("id", "cursor");
  return box;
}

function definitions(root, box) {
  const defs = root.append("defs");
  const hatch = defs.append("pattern").attr("id", "hatch").attr("width", 7).attr("height", 7)
    .attr("patternUnits", "userSpaceOnUse").attr("patternTransform", "rotate(45)");
  hatch.append("rect").attr("width", 7).attr("height", 7).attr("class", "hatch-ground");
  hatch.append("line").attr("y2", 7).attr("class", "hatch-line");
  const clip = defs.append("clipPath").attr("id", "plot").append("rect");
  clip.attr("x", box.margin.left).attr("y", box.margin.top - 6);
  clip.attr("width", box.right - box.margin.left + 6).attr("height", box.bottom - box.margin.top + 12);
}

/** Hatched ground under each stretch of provisional windows. */
function provisionalGround(plot, { rows, grain, to }, box) {
  let d = "";
  for (let i = 0; i < rows.length; i++) {
    if (rows[i].final) continue;
    const first = isTumbling(grain) ? rows[i].start : i > 0 ? (rows[i - 1].at + rows[i].at) / 2 : rows[i].at;
    while (i + 1 < rows.length && !rows[i + 1].final) i += 1;
    const left = box.x(Math.max(first, box.x.domain()[0])), right = box.x(i + 1 === rows.length ? to : rows[i].end);
    d += `M${at(left, box.margin.top)}H${right.toFixed(1)}V${box.bottom + GAP + STRIP}H${left.toFixed(1)}Z`;
  }
  if (d) plot.append("path").attr("d", d).attr("class", "provisional-ground");
}

function valueAxis(plot, box) {
  const axis = plot.append("g").attr("class", "axis");
  for (const value of box.ticks) {
    rule(axis, value === 0 ? "zero" : "grid", box.margin.left, box.y(value), box.right, box.y(value));
    write(axis, box.margin.left - 8, box.y(value), valued(value, box.unit), "end").attr("dy", "0.32em");
  }
}

function timeAxis(plot, { from, to }, box) {
  const ticks = timeTicks(zoned, from, to, Math.max(3, Math.floor((box.right - box.margin.left) / 76)));
  const axis = plot.append("g").attr("class", "axis"), top = box.bottom + GAP + STRIP;
  for (const { ms, label, below } of ticks) {
    const x = box.x(ms);
    rule(axis, "tick", x, top, x, top + 5);
    const half = 3.5 * Math.max(label.length, below.length), middle = Math.max(half, Math.min(x, box.width - half));
    const text = write(axis, middle, top + 18, label);
    if (below) text.append("tspan").attr("x", middle).attr("dy", 15).text(below);
  }
}

function objectiveLine(plot, objective, box) {
  if (!objective) return;
  const y = box.beyond === "above" ? box.margin.top : box.beyond === "below" ? box.bottom : box.y(objective.bound);
  if (!box.beyond) rule(plot, "objective", box.margin.left, y, box.right, y);
  const text = objectiveText(objective, box.unit) + ({ above: " ↑", below: " ↓" }[box.beyond] ?? "");
  const label = write(plot, box.inside ? box.margin.left + 4 : box.right + 6, y, text, "start").attr("class", "objective-text");
  label.attr("dy", !box.inside ? "0.32em" : box.beyond === "above" ? "0.9em" : "-0.35em");
}

/** In the place of the values: that there are none, and the reason of the newest window. */
function nothing(plot, rows, box) {
  const reason = rows[rows.length - 1]?.reason, why = reason ? `: ${reason}` : "";
  const text = rows.length ? `no value in this range${why}` : "no window ends in this range";
  write(plot, (box.margin.left + box.right) / 2, (box.margin.top + box.bottom) / 2, text).attr("class", "nothing");
}

const objectiveText = ({ op, bound }, unit) => `${{ ">=": "≥", "<=": "≤" }[op] ?? op} ${valued(bound, unit)}`;

/** The interval as a band, the values as a line: solid while final, dashed while provisional, broken where one is missing. */
function lines(plot, rows, box, isTrend) {
  const group = plot.append("g").attr("clip-path", "url(#plot)").attr("class", isTrend ? "trend" : null);
  const points = [];
  for (const row of rows) {
    if (!row.joined && points.length) points.push(null);
    points.push(has(row.value) ? row : null);
  }
  const x = (row) => box.x(row.at), y = (row) => box.y(row.value);
  const band = d3.area().defined((row) => row && has(row.low)).x(x).y0((row) => box.y(row.low)).y1((row) => box.y(row.high));
  group.append("path").attr("class", "band").attr("d", band(points));
  group.append("path").attr("class", "whisker").attr("d", lonely(points, box));
  const final = d3.line().defined((row) => row && row.final).x(x).y(y);
  group.append("path").attr("class", "line").attr("d", final(points));
  // A step to a provisional window is provisional, so its first point is the final window before it.
  const open = (row, i) => row && (!row.final || (points[i + 1] && !points[i + 1].final));
  group.append("path").attr("class", "line provisional").attr("d", d3.line().defined(open).x(x).y(y)(points));
}

/** Intervals of windows without a neighbour, which a band cannot show. */
function lonely(points, box) {
  const alone = (row, i) => row && has(row.low) && !points[i - 1] && !points[i + 1];
  return points.filter(alone).map((row) => `M${at(box.x(row.at), box.y(row.low))}V${box.y(row.high).toFixed(1)}`).join("");
}

const paths = (rows, box, shape, r) => rows.map((row) => shape(box.x(row.at), box.y(row.value), r)).join("");

/** A mark a window: full if final, hollow if provisional, a cross if surely on the wrong side of the objective. */
function marks(plot, rows, box) {
  const drawn = rows.filter((row) => has(row.value)), breached = drawn.filter((row) => row.verdict === "b");
  const good = drawn.filter((row) => row.verdict !== "b");
  const room = (box.right - box.margin.left) / Math.max(rows.length, 1), r = room > 8 ? 3 : 2;
  // Where there is little room, a final window gets a dot only if no line runs through it.
  const alone = (row) => room > 6 || !drawnThrough(rows, rows.indexOf(row));
  const add = (name, d) => d && plot.append("path").attr("class", name).attr("d", d);
  add("dot", paths(good.filter((row) => row.final && alone(row)), box, disc, r));
  add("dot hollow", paths(good.filter((row) => !row.final), box, disc, r + 0.5));
  add("breach", paths(breached, box, cross, r + 1.5));
  add("no-value", withoutValue(rows, box));
}

/** Whether the line comes from the window before or goes on to the next. */
function drawnThrough(rows, i) {
  const next = rows[i + 1];
  return (rows[i].joined && has(rows[i - 1].value)) || Boolean(next?.joined && has(next.value));
}

/** One dot a window, as small as can be seen, since there are thousands. */
function denseDots(plot, rows, box) {
  const drawn = rows.filter((row) => has(row.value));
  const add = (name, kept) => plot.append("path").attr("class", name).attr("d", paths(drawn.filter(kept), box, speck));
  add("speck", (row) => row.verdict !== "b" && row.final);
  add("speck open", (row) => row.verdict !== "b" && !row.final);
  add("speck breached", (row) => row.verdict === "b");
}

const withoutValue = (rows, box) =>
  rows.filter((row) => !has(row.value)).map((row) => `M${at(box.x(row.at), box.bottom - 5)}v5`).join("");

/** A diamond above each window that the last run restated. */
function restatements(plot, rows, box) {
  const d = rows.filter((row) => row.restated).map((row) => diamond(box.x(row.at), box.margin.top - 10, 4.5)).join("");
  if (d) plot.append("path").attr("class", "restated").attr("d", d);
}

/** The share of labelled predictions, window by window, from 0 to 100%. */
function coverageStrip(plot, { rows, grain }, box) {
  const top = box.bottom + GAP, base = top + STRIP, strip = plot.append("g").attr("class", "axis");
  let d = "";
  rows.forEach((row, i) => {
    const share = row.predictions ? row.labelled / row.predictions : 0;
    const start = isTumbling(grain) ? row.start : row.joined ? rows[i - 1].at : row.at - usualStepOf(rows);
    const left = Math.max(box.x(start), box.margin.left), height = (base - (STRIP * share)).toFixed(1);
    if (share > 0) d += `M${at(left, base)}V${height}H${box.x(row.end).toFixed(1)}V${base}Z`;
  });
  strip.append("path").attr("class", "coverage").attr("d", d);
  rule(strip, "zero", box.margin.left, base, box.right, base);
  rule(strip, "grid", box.margin.left, top, box.right, top);
  const label = write(strip, box.margin.left - 8, top, "100%", "end").attr("dy", "0.32em");
  label.append("tspan").attr("x", box.margin.left - 8).attr("dy", 15).text("labelled");
}

const usualStepOf = (rows) => (rows.length > 1 ? rows[rows.length - 1].at - rows[rows.length - 2].at : DAY);

/** The window that the reader looks at: a line, a ring, its interval, and its old value if the last run restated it. */
function drawCursor(svg, box, row) {
  const cursor = d3.select(svg).select("#cursor");
  cursor.selectAll("*").remove();
  if (!row) return;
  const x = box.x(row.at), add = (name, d) => cursor.append("path").attr("class", name).attr("d", d);
  add("cursor-line", `M${at(x, box.margin.top)}V${box.bottom + GAP + STRIP}`);
  if (!has(row.value)) return;
  const clamped = (value) => Math.min(box.bottom, Math.max(box.margin.top, box.y(value)));
  if (has(row.low)) add("cursor-interval", `M${at(x - 4, clamped(row.low))}h8m-4,0V${clamped(row.high).toFixed(1)}m-4,0h8`);
  if (has(row.old)) add("cursor-old", diamond(x, clamped(row.old), 4.5));
  add("cursor-ring", disc(x, box.y(row.value), 6));
}

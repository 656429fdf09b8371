// The small charts: slices as dots in their table, how labels arrive, what the model predicts, and calibration.

/** Adds a column with a dot a slice to the table of slices: now with its interval, hollow the window before. */
function drawSlices(table, linkTo) {
  const rows = [...table.querySelectorAll("tbody tr")].map((node) => ({ node, ...sides(node.dataset) }));
  const numbers = rows.flatMap((row) => [row.value, row.low, row.high, row.before]).filter(has);
  if (!numbers.length || table.querySelector(".dots")) return;
  const [low, high] = d3.extent(numbers), pad = (high - low || Math.abs(low) || 1) * 0.06;
  const x = d3.scaleLinear([low - pad, high + pad], [0, 100]);
  const head = document.createElement("th");
  head.scope = "col";
  head.className = "dots";
  head.append(textNode("span", "now ●, before ○"));
  table.tHead.rows[0].cells[0].after(head);
  for (const row of rows) {
    row.node.cells[0].after(sliceDots(row, x));
    linkSlice(row.node.cells[0], linkTo);
  }
}

/** Makes the name of a slice a link to its course over time. */
function linkSlice(cell, linkTo) {
  const slice = meta.slices.findIndex(({ name, by }) => by.length && name === cell.textContent);
  if (slice >= 0) cell.replaceChildren(linkTo(slice, cell.textContent));
}

function sides(dataset) {
  const read = (text) => (text === undefined || text === "" || Number.isNaN(Number(text)) ? null : Number(text));
  return { value: read(dataset.value), low: read(dataset.low), high: read(dataset.high), before: read(dataset.before) };
}

function sliceDots({ value, low, high, before }, x) {
  const cell = document.createElement("td"), svg = d3.select(cell).attr("class", "dots").append("svg").attr("aria-hidden", "true");
  const part = (share) => `${share.toFixed(2)}%`;
  rule(svg, "grid", 0, 10, "100%", 10);
  if (has(low)) rule(svg, "bar", part(x(low)), 10, part(x(high)), 10);
  if (has(before)) svg.append("circle").attr("class", "before").attr("cx", part(x(before))).attr("cy", 10).attr("r", 4);
  if (has(value)) svg.append("circle").attr("class", "now").attr("cx", part(x(value))).attr("cy", 10).attr("r", 5.5);
  return cell;
}

function textNode(name, text, kind = "") {
  const node = document.createElement(name);
  node.textContent = text;
  if (kind) node.className = kind;
  return node;
}

/** A figure with its title, an empty chart and a sentence that says what the chart shows. */
function figure(place, title, sentence, height, kind = "") {
  const node = document.createElement("figure");
  node.className = kind;
  node.append(textNode("h3", title));
  place.append(node);
  const svg = d3.select(node).append("svg").attr("role", "img").attr("aria-label", `${title}. ${sentence}`).attr("height", height);
  node.append(textNode("figcaption", sentence));
  const width = Math.max(240, svg.node().clientWidth);
  svg.attr("viewBox", `0 0 ${width} ${height}`);
  return { node, svg, width, height };
}

function drawFigures(place, outcomes) {
  drawArrival(place, outcomes.arrival);
  if (outcomes.calibration?.predicted.length) drawCalibration(place, outcomes.calibration);
  if (outcomes.distribution?.periods.length) drawDistribution(place, outcomes.distribution);
  place.closest("section").hidden = !place.childElementCount;
}

/** The share of labels known by the age of the prediction, on a logarithmic axis; without labels the reason. */
function drawArrival(place, arrival) {
  const title = "How long do labels take?", most = d3.max(arrival?.share ?? []);
  if (!most) {
    const old = `predictions older than the horizon of ${duration(meta.horizon)}`;
    const node = document.createElement("figure");
    node.append(textNode("h3", title), textNode("figcaption", arrival?.age.length ? `No chart: none of the ${old} has a label.` : `No chart: there are no ${old} yet.`));
    return place.append(node);
  }
  const { share, pairs } = arrival;
  // The last step may be longer than what is left of the horizon, within which alone labels count.
  const age = arrival.age.map((seconds) => Math.min(seconds, meta.horizon)), last = age[age.length - 1];
  const reached = (part) => age[share.findIndex((known) => known >= part)];
  const said = [0.5, 0.9].filter((part) => most >= part && reached(part) < meta.horizon).map((part) => `${percent(part)} after ${duration(reached(part))}`);
  said.push(`${percent(most)} within the horizon of ${duration(meta.horizon)}`);
  const { svg, width, height } = figure(place, title, `Of ${counted(pairs, "prediction")}, labels are known for ${said.join(", ")}.`, 190);
  const first = age.find((seconds) => seconds > 0) ?? 1;
  const x = d3.scaleLog([first, Math.max(last, first * 2)], [46, width - 14]), y = d3.scaleLinear([0, 1], [height - 28, 12]);
  shareAxis(svg, y, 46, width - 14);
  const steps = [3600, 3 * 3600, 6 * 3600, 12 * 3600, 86400, 3 * 86400, 7 * 86400, 14 * 86400, 30 * 86400, 90 * 86400, 365 * 86400];
  let right = -Infinity;
  for (const seconds of steps.filter((step) => step >= first && step <= last)) {
    if (x(seconds) - right < 44) continue;
    right = x(seconds);
    write(svg, right, height - 8, duration(seconds));
  }
  const points = age.map((seconds, i) => [Math.max(seconds, first), share[i]]);
  const line = d3.line().x((point) => x(point[0])).y((point) => y(point[1])).curve(d3.curveStepAfter);
  svg.append("path").attr("class", "line").attr("d", line(points));
  return null;
}

function shareAxis(svg, y, left, right) {
  for (const part of [0, 0.5, 1]) {
    rule(svg, part ? "grid" : "zero", left, y(part), right, y(part));
    write(svg, left - 8, y(part), percent(part), "end").attr("dy", "0.32em");
  }
}

/** What came true of the predictions of each score; on the diagonal the scores are probabilities. */
function drawCalibration(place, { predicted, observed, low, high, count }) {
  const far = (i) => has(low[i]) && (predicted[i] < low[i] || predicted[i] > high[i]);
  const off = predicted.filter((_, i) => far(i)).length, bins = predicted.length;
  const sentence = off
    ? `In ${off} of ${counted(bins, "group")} of scores, what came true differs from the score by more than chance.`
    : `In all ${counted(bins, "group")} of scores, what came true agrees with the score, as far as chance lets one see.`;
  const { svg, width, height } = figure(place, "Can the scores be read as probabilities?", `${sentence} Dashed: score = share.`, 190);
  const left = 46, x = d3.scaleLinear([0, 1], [left, width - 14]), y = d3.scaleLinear([0, 1], [height - 28, 12]);
  shareAxis(svg, y, left, width - 14);
  for (const score of [0, 0.25, 0.5, 0.75, 1]) write(svg, x(score), height - 8, score);
  svg.append("path").attr("class", "objective").attr("d", `M${at(x(0), y(0))}L${at(x(1), y(1))}`);
  const bars = predicted.map((score, i) => (has(low[i]) ? `M${at(x(score), y(low[i]))}V${y(high[i]).toFixed(1)}` : "")).join("");
  svg.append("path").attr("class", "whisker").attr("d", bars);
  const dots = predicted.map((score, i) => (count[i] ? disc(x(score), y(observed[i]), 3.5) : "")).join("");
  svg.append("path").attr("class", "dot").attr("d", dots);
}

const LEVELS = 8;
const BEYOND = 3.9; // standard errors: by chance one of 10,000 bins differs more

/** The bin whose share of the newest period differs most from that of the period before, in standard errors; null within chance. */
function movedBin(counts) {
  const [before, now] = counts.slice(-2), totals = [d3.sum(before ?? []), d3.sum(now ?? [])];
  if (!totals[0] || !totals[1]) return null;
  const distance = (bin) => {
    const common = (before[bin] + now[bin]) / (totals[0] + totals[1]), error = Math.sqrt(common * (1 - common) * (1 / totals[0] + 1 / totals[1]));
    return error ? Math.abs(now[bin] / totals[1] - before[bin] / totals[0]) / error : 0;
  };
  const most = d3.greatest(d3.range(now.length), (one, other) => d3.ascending(distance(one), distance(other)));
  return distance(most) > BEYOND ? most : null;
}

/** What the newest predictions are, and whether that differs from the time before by more than chance. */
function predictionSentence({ bins, periods, counts, period }, shares) {
  const last = shares.length - 1, from = timeText(zoned, periods[last] * SECOND), moved = movedBin(counts);
  const bin = moved ?? d3.greatestIndex(shares[last]), most = `${percent(shares[last][bin])} of the newest predictions (from ${from}) are ${bins[bin]}`;
  if (!last) return `${most}.`;
  if (moved !== null) return `${most}, ${percent(shares[last - 1][bin])} of those of the ${period} before: more than chance.`;
  return `${most}. No more different from the ${period} before than chance.`;
}

/** What the lightest and the darkest colour are. */
function heatKey(node, most, period) {
  const key = textNode("p", "0% ", "key"), svg = d3.select(key).append("svg").attr("width", LEVELS * 12).attr("height", 12).attr("aria-hidden", "true");
  for (let level = 1; level <= LEVELS; level++) {
    svg.append("path").attr("class", "heat").attr("fill-opacity", level / LEVELS).attr("d", `M${(level - 1) * 12},0h12v12h-12Z`);
  }
  key.append(` ${percent(most)} of the predictions of a ${period}`);
  node.append(key);
}

/** Periods from left to right, bins of predictions upwards; the darker, the larger the share of the period. */
function drawDistribution(place, distribution) {
  const { bins, periods, counts, period: length } = distribution;
  const shares = counts.map((row) => row.map((count) => count / (d3.sum(row) || 1)));
  const most = d3.max(shares.flat()) || 1, sentence = predictionSentence(distribution, shares);
  const height = Math.min(320, bins.length * 15 + 48);
  const { node, svg, width } = figure(place, "What does the model predict?", sentence, height, "wide");
  heatKey(node, most, length);
  // The names of bins have the room that they need, or at most a third of a phone's width.
  const letters = Math.min(d3.max(bins, (bin) => bin.length), Math.floor((width / 2.6 - 16) / 6.6)), left = Math.max(46, 16 + 6.6 * letters), cell = (width - left - 8) / periods.length;
  const row = (height - 42) / bins.length, y = (bin) => height - 38 - (bin + 1) * row;
  const cells = Array(LEVELS + 1).fill("");
  shares.forEach((shared, period) => shared.forEach((share, bin) => {
    const level = share > 0 ? Math.max(1, Math.round((share / most) * LEVELS)) : 0;
    const x = left + period * cell;
    cells[level] += `M${at(x, y(bin))}h${(cell > 8 ? cell - 1 : cell).toFixed(2)}v${(row - 1).toFixed(2)}H${x.toFixed(1)}Z`;
  }));
  cells.forEach((d, level) => level && d && svg.append("path").attr("class", "heat").attr("fill-opacity", level / LEVELS).attr("d", d));
  binLabels(svg, bins, (bin) => y(bin) + row / 2, left, row, letters);
  periodLabels(svg, periods, (period) => left + period * cell, cell, height);
  heatReadout(node, svg, { bins, periods, shares, left, cell, row, height, sentence });
}

function binLabels(svg, bins, y, left, row, letters) {
  const every = Math.ceil(13 / row);
  bins.forEach((bin, i) => {
    if (i % every) return;
    const short = bin.length > letters ? `${bin.slice(0, letters - 1)}…` : bin;
    write(svg, left - 8, y(i), short, "end").attr("dy", "0.32em");
  });
}

function periodLabels(svg, periods, x, cell, height) {
  const starts = periods.map((seconds) => seconds * SECOND), last = starts.length - 1;
  const end = starts[last] + (last > 0 ? starts[last] - starts[last - 1] : DAY);
  const scale = d3.scaleLinear([starts[0], end], [x(0), x(last + 1)]);
  for (const { ms, label, below } of timeTicks(zoned, starts[0], end, (x(last + 1) - x(0)) / 84)) {
    if (scale(ms) > x(last + 1) - 24) continue;
    const text = write(svg, scale(ms), height - 22, label, "start");
    if (below) text.append("tspan").attr("x", scale(ms)).attr("dy", 14).text(below);
  }
}

/** The share under the pointer, in the sentence below. */
function heatReadout(node, svg, { bins, periods, shares, left, cell, row, height, sentence }) {
  const caption = node.querySelector("figcaption");
  svg.on("pointermove", (event) => {
    const [x, y] = d3.pointer(event), period = Math.floor((x - left) / cell), bin = Math.floor((height - 38 - y) / row);
    const share = shares[period]?.[bin];
    const from = () => `From ${timeText(zoned, periods[period] * SECOND)}`;
    caption.textContent = share === undefined ? sentence : `${from()}: ${percent(share)} of predictions are ${bins[bin]}.`;
  });
  svg.on("pointerleave", () => (caption.textContent = sentence));
}

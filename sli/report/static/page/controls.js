// The controls: native selects, radio buttons and a searchable input, made here since without this script they do nothing.

const FEW_SLICES = 12, MOST_OPTIONS = 100;

function labelled(text, control) {
  const label = document.createElement("label");
  label.append(textNode("span", text), control);
  return label;
}

function selectOf(options, chosen, change) {
  const select = document.createElement("select");
  options.forEach((text, i) => select.append(new Option(text, String(i), false, i === chosen)));
  select.addEventListener("change", () => change(Number(select.value)));
  return select;
}

/** Radio buttons that look like one bar: `options` are [value, text]. */
function radios(name, title, options, chosen, change) {
  const set = document.createElement("fieldset");
  set.append(textNode("legend", title));
  for (const [value, text] of options) {
    const input = Object.assign(document.createElement("input"), { type: "radio", name, value, checked: value === chosen });
    const label = document.createElement("label");
    label.append(input, textNode("span", text));
    input.addEventListener("change", () => change(value));
    set.append(label);
  }
  return set;
}

function button(text, press, enabled = true, title = "") {
  const node = Object.assign(textNode("button", text), { type: "button", disabled: !enabled, title });
  if (title) node.setAttribute("aria-label", title);
  node.addEventListener("click", press);
  return node;
}

/** A slice's name, with the columns where slices by several columns exist. */
const several = new Set(meta.slices.map((slice) => slice.by.join(","))).size > 2;
const optionText = (slice) => (slice.by.length && several ? `${slice.name} (${slice.by.join(", ")})` : sliceText(slice));

function sliceControl(view, choose) {
  if (meta.slices.length <= FEW_SLICES) {
    return labelled("Slice", selectOf(meta.slices.map(optionText), view.slice, choose));
  }
  return labelled(`Slice (${counted(meta.slices.length, "slice")}, type to search)`, sliceSearch(view, choose));
}

/** An input that offers the slices whose name contains what is typed, at most 100 of them. */
function sliceSearch(view, choose) {
  const input = Object.assign(document.createElement("input"), { type: "search", autocomplete: "off", value: optionText(meta.slices[view.slice]) });
  const offered = Object.assign(document.createElement("datalist"), { id: "slice-options" });
  input.setAttribute("list", offered.id);
  const texts = meta.slices.map(optionText), folded = texts.map((text) => text.toLowerCase());
  const offer = (typed) => {
    const matching = texts.filter((_, i) => folded[i].includes(typed.toLowerCase())).slice(0, MOST_OPTIONS);
    offered.replaceChildren(...matching.map((text) => new Option(text, text)));
    return matching;
  };
  const take = (accept) => {
    const exact = texts.indexOf(input.value), matching = offer(input.value);
    const slice = exact >= 0 ? exact : accept && matching.length === 1 ? texts.indexOf(matching[0]) : -1;
    input.setCustomValidity(slice >= 0 || !accept ? "" : matching.length ? "Several slices have this in their name: choose one." : "No slice has this in its name.");
    if (slice >= 0 && slice !== view.slice) choose(slice);
    else if (accept) input.reportValidity();
  };
  input.addEventListener("focus", () => input.select());
  input.addEventListener("input", () => take(false));
  input.addEventListener("change", () => take(true));
  offer("");
  const holder = document.createElement("span");
  holder.append(input, offered);
  return holder;
}

/** Fills the form with the controls of a view; `go` shows another view. */
function drawControls(form, view, data, go) {
  const focused = document.activeElement?.closest("#controls") ? focusKey(document.activeElement) : null;
  const sized = data && data.count ? (data.end[data.count - 1] - data.start[0]) / DAY : 0;
  const fine = grainOf(view).name === "hour" || /^\d+(m|h)\//.test(grainOf(view).name);
  const ranges = RANGES.filter(([range, days]) => range === view.range || days === null || (days < sized && (days > 2 || fine)));
  form.replaceChildren(
    labelled("SLI", selectOf(meta.slis.map((sli) => sli.name), view.sli, (sli) => go({ ...view, sli }))),
    sliceControl(view, (slice) => go({ ...view, slice })),
    radios("grain", "Windows", meta.grains.map((grain, i) => [String(i), grain.label]), String(view.grain), (grain) => go({ ...view, grain: Number(grain) })),
    radios("range", "Range", ranges.map(([range, , text]) => [range, text]), view.range, (range) => go({ ...view, range })),
  );
  const shifts = document.createElement("span");
  shifts.className = "shifts";
  const earlier = data && shifted(view, data, -1), later = data && shifted(view, data, 1);
  shifts.append(button("←", () => go(earlier), Boolean(earlier), "earlier"), button("→", () => go(later), Boolean(later), "later"));
  if (view.range !== "all") form.append(shifts);
  if (meta.live) form.append(liveControls(view, go));
  if (focused) [...form.querySelectorAll("input, select, button")].find((node) => focusKey(node) === focused)?.focus();
}

const focusKey = (node) => `${node.tagName} ${node.type} ${node.name || node.closest("label")?.textContent.slice(0, 5) || node.textContent}${node.type === "radio" ? node.checked : ""}`;

/** What only a server can answer: windows of any size, and what was believed at an earlier time. */
function liveControls(view, go) {
  const details = document.createElement("details");
  details.append(textNode("summary", "Windows of any size; what was believed earlier"));
  const text = (value, placeholder) => Object.assign(document.createElement("input"), { type: "text", size: 8, value, placeholder });
  const [size, every] = grainOf(view).name.includes("/") ? grainOf(view).name.split("/") : ["", ""];
  const sizeInput = text(size, "7d"), everyInput = text(every, "1d"), asOf = text(view.asOf ?? "", "2013-12-24");
  const merge = button("Merge", () => sizeInput.value && go({ ...view, grain: grainOfSize(sizeInput.value.trim(), everyInput.value.trim()) }));
  // The whole page is of one time: the server makes it anew.
  const believe = button("Show", () => {
    const params = paramsOf(view);
    params.delete("as_of");
    if (asOf.value.trim()) params.set("as_of", asOf.value.trim());
    location.search = String(params);
  });
  const row = document.createElement("div");
  row.append(labelled("Windows of", sizeInput), labelled("every", everyInput), merge, labelled("As known at", asOf), believe);
  details.append(row);
  return details;
}

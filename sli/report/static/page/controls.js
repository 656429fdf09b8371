// The controls: native selects, radio buttons and a searchable input, made here since without this script they do nothing.

const FEW_SLICES = 12, MOST_OPTIONS = 100;

function labelled(text, control) {
  const label = document.createElement("label");
  label.append(textNode("span", text), control);
  return label;
}

function selectOf(name, options, chosen, change) {
  const select = Object.assign(document.createElement("select"), { name });
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

function button(name, text, press, enabled = true) {
  const node = Object.assign(textNode("button", text), { type: "button", name, disabled: !enabled });
  node.addEventListener("click", press);
  return node;
}

/** A slice's name, with the columns where slices by several columns exist. */
const several = new Set(meta.slices.map((slice) => slice.by.join(","))).size > 2;
const optionText = (slice) => (slice.by.length && several ? `${slice.name} (${slice.by.join(", ")})` : sliceText(slice));

function sliceControl(view, choose) {
  if (meta.slices.length <= FEW_SLICES) return labelled("Slice", selectOf("slice", meta.slices.map(optionText), view.slice, choose));
  return labelled(`Slice (${counted(meta.slices.length, "slice")}, type to search)`, sliceSearch(view, choose));
}

/** An input that offers the slices whose name contains what is typed, at most 100 of them. */
function sliceSearch(view, choose) {
  const input = Object.assign(document.createElement("input"), { type: "search", name: "slice", autocomplete: "off" });
  const offered = Object.assign(document.createElement("datalist"), { id: "slice-options" });
  const texts = meta.slices.map(optionText), folded = texts.map((text) => text.toLowerCase());
  const offer = () => {
    const typed = input.value.toLowerCase(), matching = texts.filter((_, i) => folded[i].includes(typed)).slice(0, MOST_OPTIONS);
    offered.replaceChildren(...matching.map((text) => new Option(text, text)));
    return matching;
  };
  const take = (slice) => slice >= 0 && slice !== view.slice && choose(slice);
  input.value = texts[view.slice];
  input.setAttribute("list", offered.id);
  input.addEventListener("focus", () => input.select());
  input.addEventListener("input", () => {
    input.setCustomValidity("");
    offer();
    take(texts.indexOf(input.value));
  });
  input.addEventListener("change", () => {
    const matching = offer(), exact = texts.indexOf(input.value);
    if (exact >= 0 || matching.length === 1) return take(exact >= 0 ? exact : texts.indexOf(matching[0]));
    input.setCustomValidity(matching.length ? "Several slices have this in their name: choose one." : "No slice has this in its name.");
    return input.reportValidity();
  });
  offer();
  const holder = document.createElement("span");
  holder.append(input, offered);
  return holder;
}

/** Fills the form with the controls of a view; `go` shows another view. */
function drawControls(form, view, data, go) {
  const focused = form.contains(document.activeElement) ? document.activeElement.name : null;
  const open = form.querySelector("details")?.open ?? false;
  const grains = meta.grains.map((grain, i) => [String(i), grain.label]);
  form.replaceChildren(
    labelled("SLI", selectOf("sli", meta.slis.map((sli) => sli.name), view.sli, (sli) => go({ ...view, sli }))),
    sliceControl(view, (slice) => go({ ...view, slice })),
    radios("grain", "Windows", grains, String(view.grain), (grain) => go({ ...view, grain: Number(grain) })),
    radios("range", "Range", ranges(view, data), view.range, (range) => go({ ...view, range })),
  );
  if (data && view.range !== "all") form.append(shifts(view, data, go));
  if (meta.live) form.append(...liveControls(view, go, open));
  if (focused) (form.querySelector(`[name="${focused}"]:checked`) ?? form.querySelector(`[name="${focused}"]`))?.focus();
}

/** The ranges that are shorter than what there is; two days only of windows that are shorter than a day. */
function ranges(view, data) {
  const days = data?.count ? (data.end[data.count - 1] - data.start[0]) / DAY : 0, fine = data?.count > 1 && usualStep(data) < DAY;
  const offered = RANGES.filter(([range, length]) => range === view.range || length === null || (length < days && (length > 2 || fine)));
  return offered.map(([range, , text]) => [range, text]);
}

function shifts(view, data, go) {
  const place = document.createElement("span"), earlier = shifted(view, data, -1), later = shifted(view, data, 1);
  const both = [button("earlier", "←", () => go(earlier), earlier !== null), button("later", "→", () => go(later), later !== null)];
  for (const one of both) one.setAttribute("aria-label", one.name);
  place.className = "shifts";
  place.append(...both);
  return place;
}

/** What only a server can answer: windows of any size, and what was believed at an earlier time. */
function liveControls(view, go, open) {
  const details = Object.assign(document.createElement("details"), { open }), row = document.createElement("div");
  const input = (name, value, placeholder, size = 9) =>
    Object.assign(document.createElement("input"), { type: "text", size, name, value, placeholder });
  const [size = "", every = ""] = grainOf(view).name.includes("/") ? grainOf(view).name.split("/") : [];
  const sizeInput = input("size", size, "7d"), everyInput = input("every", every, "1d");
  const asOf = input("as_of", (view.asOf ?? "").replace("T", " "), timeText(zoned, newest - DAY), 17);
  for (const one of [sizeInput, everyInput]) Object.assign(one, { pattern: "\\s*\\d+[mhd]\\s*", title: "a number and m, h or d: 6h" });
  const merge = () => {
    if (!sizeInput.value.trim() || !sizeInput.reportValidity() || !everyInput.reportValidity()) return;
    go({ ...view, grain: grainOfSize(sizeInput.value.trim(), everyInput.value.trim()) });
  };
  // All of the page is as known at one time, so the server makes it anew.
  const believe = () => (location.search = String(paramsOf({ ...view, asOf: asOf.value.trim() })));
  row.append(labelled("Windows of", sizeInput), labelled("every", everyInput), button("merge", "Merge", merge));
  details.append(textNode("summary", "Windows of any size"), row);
  const earlier = document.createElement("span");
  earlier.className = "earlier";
  earlier.append(labelled("As known at", asOf), button("believe", "Show", believe));
  return [earlier, details];
}

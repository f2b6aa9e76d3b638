// Small pieces of the page: elements, tables, bars. All text is put in as text.

const SVG = "http://www.w3.org/2000/svg";

function byId(id) {
  return document.getElementById(id);
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function drawn(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function options(select, names) {
  select.replaceChildren(...names.map(([value, words]) => element("option", { value }, words)));
}

/** A table in a box that scrolls sideways; `words` are the columns that are set left. */
function tableElement(headings, rows, words = []) {
  const kind = (i) => (words.includes(i) ? { class: "words" } : {});
  const head = element("tr", {}, ...headings.map((text, i) => element("th", { scope: "col", ...kind(i) }, text)));
  const body = rows.map(({ cells, attributes = {} }) =>
    element("tr", attributes, ...cells.map((cell, i) => element("td", kind(i), cell))),
  );
  const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": headings[0] }, table);
}

/** Name, bar, amount. */
function barRow(name, need, have, note) {
  const short = need > have;
  const fill = element("i");
  fill.style.width = `${Math.min(100, (100 * need) / Math.max(have, 1))}%`;
  const missing = short ? `: ${showGib(need - have)} GiB missing` : "";
  const amount = `${showGib(need)} of ${showGib(have)} GiB${missing}${note}`;
  return [
    element("span", {}, name),
    element("div", { class: short ? "bar no" : "bar", "aria-hidden": "true" }, fill),
    element("span", { class: short ? "amount no" : "amount" }, amount),
  ];
}

function definitions(rows) {
  return element("dl", {}, ...rows.flatMap(([topic, words]) => [element("dt", {}, topic), element("dd", {}, words)]));
}

/** Put in a new content; what had the focus in the old one has it in the new one. */
function replaceKept(place, content) {
  const label = place.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
  place.replaceChildren(content);
  if (label !== null) place.querySelector(`[aria-label="${CSS.escape(label)}"]`)?.focus();
}

// A click on a column's heading sorts its table: numbers by value, units heeded, all else as text.
// A timeline has buttons that make it wider and narrower in a box that scrolls.
"use strict";

const SCALE = {
  ms: 1e-3, s: 1, min: 60, h: 3600, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40,
};

function value(text) {
  const plain = text.replace(/[\u202f\u00a0]/g, " ").replace(/\u2212/g, "-").trim();
  const found = plain.match(/^[\u2264<]?\s*([+-]?\d[\d ]*(?:\.\d+)?)\s*([A-Za-z]*)/);
  return found ? Number(found[1].replace(/ /g, "")) * (SCALE[found[2]] || 1) : NaN;
}

function compare(one, other) {
  const [a, b] = [value(one), value(other)];
  if (Number.isNaN(a) || Number.isNaN(b)) {
    return Number.isNaN(a) - Number.isNaN(b) || one.localeCompare(other);
  }
  return a - b;
}

function sort(table, heading) {
  const upwards = heading.getAttribute("aria-sort") !== "ascending";
  const cell = (row) => row.cells[heading.cellIndex].textContent;
  const rows = [...table.tBodies[0].rows].sort((a, b) => compare(cell(a), cell(b)));
  table.tBodies[0].append(...(upwards ? rows : rows.reverse()));
  for (const each of heading.parentNode.cells) each.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", upwards ? "ascending" : "descending");
}

function sortable(table) {
  for (const heading of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.append(...heading.childNodes);
    button.onclick = () => sort(table, heading);
    heading.append(button);
  }
}

const WIDEST = 16;

function zoomable(plot) {
  const drawn = plot.firstElementChild, box = document.createElement("div");
  let factor = 1;
  function show(next) {
    const middle = (plot.scrollLeft + plot.clientWidth / 2) / factor;
    factor = Math.min(WIDEST, Math.max(1, next));
    drawn.style.width = `${100 * factor}%`;
    plot.scrollLeft = middle * factor - plot.clientWidth / 2;
  }
  box.className = "zoom";
  for (const [sign, name, by] of [["\u2212", "Zoom out", 0.5], ["+", "Zoom in", 2]]) {
    const button = document.createElement("button");
    button.append(sign);
    button.setAttribute("aria-label", name);
    button.onclick = () => show(factor * by);
    box.append(button);
  }
  plot.before(box);
  plot.tabIndex = 0;
  plot.setAttribute("aria-label", "Timeline");
  plot.setAttribute("role", "region");
}

document.querySelectorAll(".scroll table").forEach(sortable);
document.querySelectorAll(".plot.zooms").forEach(zoomable);

// What all reports share: the data, elements, tables, and pictures that are drawn again when their width changes.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const main = document.querySelector("main");
const percent = d3.format(".1%");

/** An element with attributes and children; strings become text, never markup. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.flat(Infinity));
  return made;
}

/** A chapter of the page: a heading, a paragraph, and what follows. */
function section(title, text, ...children) {
  const made = element("section", {}, element("h2", {}, title), text ? element("p", {}, text) : "", children);
  main.append(made);
  return made;
}

/** A picture `draw(width)` under a caption, as wide as there is room. */
function figure(caption, draw) {
  const place = element("div");
  const made = element("figure", { role: "img", "aria-label": caption }, element("figcaption", {}, caption), place);
  let width = 0;
  new ResizeObserver(([entry]) => {
    const room = Math.floor(entry.contentRect.width);
    if (room > 0 && room !== width) {
      width = room;
      // Not at once: a picture may bring a scroll bar, which changes widths that are being told.
      requestAnimationFrame(() => place.replaceChildren(draw(width)));
    }
  }).observe(made);
  made.redraw = () => width && place.replaceChildren(draw(width));
  return made;
}

/** A menu; `change` is called with the index chosen. */
function menu(label, names, change, chosen = 0) {
  const options = names.map((name, i) => element("option", i === chosen ? { value: i, selected: "" } : { value: i }, name));
  const made = element("select", {}, options);
  made.addEventListener("change", () => change(Number(made.value)));
  return element("label", {}, label + " ", made);
}

/** Rows of text or numbers; a column is flush right where its first cell is a number. */
function table(head, rows) {
  const number = head.map((_, i) => rows.some((row) => typeof row[i] === "number" || /^[\d.,×]+( ?%| [kMGT]?B)?$/.test(row[i])));
  const cells = (kind, row) => row.map((cell, i) => element(kind, number[i] ? { class: "number" } : {}, String(cell)));
  const body = rows.map((row) => element("tr", {}, cells("td", row)));
  return element("div", { class: "scroll" }, element("table", {}, head.some(Boolean) ? element("thead", {}, element("tr", {}, cells("th", head))) : [], element("tbody", {}, body)));
}

/** Something that is shown when asked for. */
function details(summary, ...children) {
  return element("details", {}, element("summary", {}, summary), children);
}

/** Bytes of base64 as numbers of `size` bytes each. */
function numbers(text, size) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return size === 1 ? bytes : new Uint16Array(bytes.buffer);
}

/** The first, the middle and the last of n: 0, 15 and 31 of 32. */
function ends(n) {
  return [...new Set([0, Math.floor((n - 1) / 2), n - 1])];
}

main.append(element("h1", {}, document.title));

// Which experts serve which texts: the pictures of `localmix routes`.
"use strict";

const { layers, texts, experts, active } = data;
const even = 1 / experts;
const few = experts <= 16;
const names = texts.map((text) => text.name);
const legend = texts.length > 1 ? { legend: true, domain: names } : { domain: names };
const expertColor = (e) => (experts <= 10 ? d3.schemeTableau10[e] : d3.hsl((e * 137.508) % 360, 0.62, 0.55).formatHex());

main.append(
  element("p", {}, `${d3.format(",")(d3.sum(texts, (t) => t.tokens))} tokens in ${texts.length === 1 ? "one text" : `${texts.length} texts`}, `
    + `each served by ${active} of ${experts} experts in each of ${layers.length} layers.`),
  table(["", ""], data.facts),
);

/** Bars of one layer: a group for each expert, a bar for each text. */
function bars(i) {
  const rows = texts.flatMap((text) => text.share[i].map((share, expert) => ({ text: text.name, expert, share })));
  return figure(`Layer ${layers[i]}`, (width) => Plot.plot({
    width, height: 200, marginLeft: 44, marginBottom: 40,
    x: { axis: null, domain: names }, fx: { label: "expert", padding: 0.18 },
    y: { label: "share of choices", tickFormat: "%", grid: true, ticks: 4 },
    color: { domain: names },
    marks: [
      Plot.barY(rows, { fx: "expert", x: "text", y: "share", fill: "text", tip: { format: { y: ".1%", x: false } } }),
      Plot.ruleY([even], { strokeDasharray: "4,3" }), Plot.ruleY([0]),
    ],
  }));
}

/** Layers by experts: how far each share is from an even one. */
function heat(text, width) {
  const top = Math.max(2, d3.max(texts, (t) => d3.max(t.share, (row) => d3.max(row))) * experts);
  const rows = text.share.flatMap((row, i) => row.map((share, expert) => ({ layer: layers[i], expert, times: share * experts, share })));
  const color = { type: "diverging", scheme: "BuRd", pivot: 1, symmetric: false, domain: [0, top], label: "times an even share", legend: true };
  const height = Math.min(620, 70 + layers.length * Math.max(8, Math.min(22, 420 / layers.length)));
  if (rows.length <= 4096) {
    return Plot.plot({
      width, height: height + 12, marginLeft: 52, marginBottom: 42, color, padding: 0.04,
      x: { label: "expert", tickFormat: (e) => (e % Math.ceil(experts / 16) ? "" : e) },
      y: { label: "layer", tickFormat: (l) => (layers.length > 20 && l % 5 ? "" : l) },
      marks: [Plot.cell(rows, { x: "expert", y: "layer", fill: "times", tip: { format: { fill: ".2f" } } })],
    });
  }
  return Plot.plot({
    width, height, marginLeft: 44, color, x: { label: "expert" }, y: { label: "layer", reverse: true },
    marks: [Plot.raster(rows.map((row) => row.times), { width: experts, height: layers.length, x1: 0, x2: experts, y1: layers[0], y2: layers.at(-1) + 1, imageRendering: "pixelated" })],
  });
}

/** One line a text over the layers, and what chance would give. */
function lines(caption, key, chance, format) {
  const rows = texts.flatMap((text) => text[key].map((value, i) => ({ text: text.name, layer: layers[i], value })));
  return figure(caption, (width) => Plot.plot({
    width, height: 230, marginLeft: 48, color: legend,
    x: { label: "layer", ticks: layers.length < 12 ? layers : 8, tickFormat: "d" }, y: { label: null, tickFormat: format, grid: true, zero: true, nice: true },
    marks: [
      Plot.ruleY([chance], { strokeDasharray: "4,3" }),
      Plot.lineY(rows, { x: "layer", y: "value", stroke: "text", marker: layers.length < 40 ? "dot" : null, tip: { format: { y: format, x: "d" } } }),
    ],
  }));
}

section("Share of the experts", `Of all choices of a layer, how many went to each expert; the dashed line is an even share, ${percent(even)}.`);
if (few) {
  const key = figure("", () => Plot.legend({ color: { domain: names, type: "categorical" } }));
  if (texts.length > 1) main.lastChild.append(key);
  main.lastChild.append(element("div", { class: "side" }, ends(layers.length).map(bars)));
}
main.lastChild.append(element("div", { class: "side" }, texts.map((text) => figure(text.name, (width) => heat(text, width)))));

section("Tokens that keep their experts", "How often a token is served by an expert of the token before it. Where routing follows the text more than chance does, "
  + "caching experts pays, and consecutive tokens fall on the same ones.",
element("div", { class: "side" },
  lines("the same first choice", "keptFirst", data.chance[0], "%"),
  lines("any expert in common", "keptAny", data.chance[1], "%")));

section("Balance", `How many experts, used evenly, would share the load as it is shared (two to the power of its entropy): ${experts} where it is even.`,
  lines("experts, if evenly used", "even", experts, "d"));
if (texts.length > 1) {
  main.lastChild.append(figure("choices that would have to go elsewhere to make a text like all together, at most", (width) => Plot.plot({
    width, height: 190, marginLeft: 48, x: { label: "layer", tickFormat: "d", interval: 1, ticks: 8 }, y: { label: null, tickFormat: "%", grid: true },
    marks: [Plot.rectY(data.apart.map((value, i) => ({ layer: layers[i], value })), { x: "layer", y: "value", interval: 1, inset: 1, fill: "currentColor", fillOpacity: 0.5, tip: { format: { y: ".1%" } } }), Plot.ruleY([0])],
  })));
}

if (data.pairs.length) {
  let chosen = data.pairs.length - 1;
  const picture = figure("more often (red) or less (blue) than their loads alone would bring them together", (width) => {
    const rows = data.pairs[chosen].lift.flatMap((row, a) => row.map((times, b) => ({ a, b, times }))).filter((pair) => pair.a !== pair.b);
    const size = Math.min(width, 460);
    return Plot.plot({
      width: size, height: size, marginLeft: 52, marginBottom: 42, padding: 0.04,
      x: { label: "expert", tickFormat: (e) => (e % Math.ceil(experts / 16) ? "" : e) }, y: { label: "expert", tickFormat: (e) => (e % Math.ceil(experts / 16) ? "" : e) },
      color: { type: "diverging", scheme: "BuRd", pivot: 1, symmetric: false, domain: [0, Math.max(2, d3.max(rows, (row) => row.times))], label: "times as often", legend: true },
      marks: [Plot.cell(rows, { x: "b", y: "a", fill: "times", tip: { format: { fill: ".2f" } } })],
    });
  });
  section("Experts that serve a token together", "", menu("layer", data.pairs.map((pair) => String(pair.layer)), (i) => { chosen = i; picture.redraw(); }, chosen), picture);
}

function quoted() {
  let which = 0, layer = layers.length - 1;
  const place = element("div", { class: "text", tabindex: "0" });
  const note = element("p", { class: "quiet" });
  const decoded = texts.map((text) => numbers(text.chosen, experts <= 256 ? 1 : 2));
  const show = () => {
    const text = texts[which], chosen = decoded[which], count = text.pieces.length;
    place.replaceChildren(...text.pieces.map((piece, t) => {
      const own = chosen.subarray((layer * count + t) * active, (layer * count + t + 1) * active);
      const color = d3.color(expertColor(own[0]));
      color.opacity = 0.4;
      return element("span", { style: `background:${color}`, title: `expert ${[...own].join(", ")}` }, piece);
    }));
    note.textContent = count < text.tokens ? `The first ${count} of ${text.tokens} tokens.` : "";
  };
  const key = element("div", { class: "key" }, few ? d3.range(experts).map((e) => {
    const color = d3.color(expertColor(e));
    color.opacity = 0.4;
    return element("span", { style: `background:${color}` }, `${e}`);
  }) : []);
  section("The text by first choice", "Each token has the colour of the expert that weighs most in serving it; point at it for all of them.",
    menu("text", names, (i) => { which = i; show(); }), menu("layer", layers.map(String), (i) => { layer = i; show(); }, layer), key, place, note);
  show();
}
quoted();

if (data.pools.length) {
  const policies = Object.keys(data.pools[0].hits);
  const rows = data.pools.flatMap((pool) => policies.map((policy) => ({ policy, bytes: pool.bytes, hit: pool.hits[policy] })));
  section("A pool of experts in memory", "How often an expert would be in memory when it is wanted, decoding these texts token by token, if so much of it were set aside. "
    + "“Pinned” and “best possible” know the text beforehand.",
  figure("hits by size of the pool", (width) => Plot.plot({
    width, height: 260, marginLeft: 48, color: { legend: true, domain: policies },
    x: { label: "bytes", tickFormat: "~s", nice: true }, y: { label: null, tickFormat: "%", grid: true, domain: [0, 1] },
    marks: [Plot.lineY(rows, { x: "bytes", y: "hit", stroke: "policy", marker: "dot", tip: { format: { y: ".1%", x: "~s" } } })],
  })),
  table(["pool", "slots", ...policies], data.pools.map((pool) => [`${d3.format("~s")(pool.bytes)}B`, `${pool.slots} of ${pool.experts}`, ...policies.map((p) => percent(pool.hits[p]))])));
}

section("Numbers", "", texts.map((text) => details(`${text.name}: share of each expert`,
  table(["layer", ...d3.range(experts), "kept first", "kept any"], text.share.map((row, i) => [layers[i], ...row.map(percent), percent(text.keptFirst[i]), percent(text.keptAny[i])])))));
main.append(element("footer", {}, "By localmix routes. Drawn by Observable Plot and D3 (ISC licence), whose terms are in this file."));

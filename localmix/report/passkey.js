// How long a context holds: the pictures of `localmix passkey`.
"use strict";

const { lengths, depths, reach } = data;
const name = (n) => (n >= 1024 && n % 1024 === 0 ? `${n / 1024}k` : String(n));
const cells = depths.flatMap((depth, d) => lengths.map((length, l) => ({ depth, length, found: data.found[d][l], nats: data.nats[d][l] })));

main.append(table(["", ""], data.facts));

/** Depths by lengths. */
function map(caption, value, color, shown) {
  return figure(caption, (width) => Plot.plot({
    width, height: 120 + depths.length * 34, marginLeft: 64, marginBottom: 42, padding: 0.05, color: { legend: true, ...color },
    x: { label: "tokens of the text", type: "band", domain: lengths, tickFormat: name },
    y: { label: "depth", type: "band", domain: depths, tickFormat: d3.format(".0%") },
    marks: [
      Plot.cell(cells, { x: "length", y: "depth", fill: value }),
      Plot.text(cells, { x: "length", y: "depth", text: (cell) => shown(cell[value]), fill: "#111", stroke: "#fff", strokeWidth: 2.5 }),
    ],
  }));
}

section("Keys found", `A number is hidden in a text that says nothing else, at some depth, and asked for at the end. Each cell is the share of ${data.keys} that a greedy answer gives whole.`,
  map("share of keys found", "found", { scheme: "YlGn", domain: [0, 1], tickFormat: "%", label: null }, d3.format(".0%")));
section("How likely the key was", "The mean log-probability of a whole key in nats, 0 where it is certain: where no key is found, how far the model was from it.",
  map("nats", "nats", { scheme: "YlGn", domain: [Math.min(-1, d3.min(cells, (cell) => cell.nats)), 0], label: "nats" }, d3.format(".1f")));

if (reach.length) {
  section("Perplexity by context", "How well tokens of a text are predicted by how many come before them. A context that is used goes down as it grows.",
    figure("perplexity", (width) => Plot.plot({
      width, height: 260, marginLeft: 52,
      x: { type: "log", base: 2, label: "tokens before", tickFormat: name }, y: { label: null, grid: true, nice: true },
      marks: [Plot.lineY(reach, { x: (one) => Math.max(one.from, 8), y: "perplexity", marker: "dot", stroke: "#4e79a7", strokeWidth: 2, tip: true })],
    })),
    table(["tokens before", "tokens", "perplexity"], reach.map((one) => [`${one.from} to ${one.to - 1}`, one.tokens, one.perplexity.toFixed(3)])));
}
main.append(element("footer", {}, "By localmix passkey. Drawn by Observable Plot and D3 (ISC licence), whose terms are in this file."));

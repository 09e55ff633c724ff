// Formats of one model side by side: the pictures of `localmix quality`.
"use strict";

const { models } = data;
const base = models.find((model) => model.base);
const others = models.filter((model) => !model.base);
const size = (bytes) => `${d3.format(".3~s")(bytes)}B`;
const begins = d3.range(base.name.length + 1).filter((n) => models.every((m) => m.name.startsWith(base.name.slice(0, n)))).pop();
const common = Math.max(...[".", "-", "_"].map((mark) => base.name.slice(0, begins).lastIndexOf(mark))) + 1;
for (const model of models) model.short = model.name.slice(common) || model.name;
const timed = models.some((m) => m.decode_tokens_per_second !== null);
const or = (value, format) => (value === null ? "" : format(value));

main.append(
  element("p", {}, `${d3.format(",")(data.tokens)} tokens of ${data.text} were scored, in windows of ${data.context}. All are compared with ${base.name}.`),
  table(
    ["file", "size", "bits", "perplexity", "±", "KL", "KL 99 %", "top 1", "routers", ...(timed ? ["prompt t/s", "decode t/s"] : [])],
    models.map((m) => [m.name, size(m.bytes), m.bits_per_weight.toFixed(2), m.perplexity.toFixed(4), m.error.toFixed(4),
      ...(m.base ? ["", "", "", ""] : [m.kl_mean.toFixed(6), m.kl_99.toFixed(5), d3.format(".2%")(m.top1_agreement), or(m.router_agreement, d3.format(".2%"))]),
      ...(timed ? [or(m.prompt_tokens_per_second, d3.format(".1f")), or(m.decode_tokens_per_second, d3.format(".1f"))] : [])]),
  ),
);

/** A point for each file, by its size. */
function scatter(caption, rows, value, y) {
  return figure(caption, (width) => Plot.plot({
    width, height: 280, marginLeft: 58, marginRight: 70, marginTop: 30,
    x: { type: "log", base: 2, label: "bytes", tickFormat: ".2~s", ticks: 5 }, y: { label: null, grid: true, nice: true, ...y },
    marks: [
      Plot.line(rows, { x: "bytes", y: value, strokeOpacity: 0.25 }),
      Plot.dot(rows, { x: "bytes", y: value, fill: "#4e79a7", r: 5, tip: true, channels: { file: "name" } }),
      Plot.text(rows, { x: "bytes", y: value, text: "short", dy: -12 }),
    ],
  }));
}

section("How far from the best", "The mean divergence of each file's predictions from those of the best, by its size: lower and further left is better.",
  scatter("KL divergence in nats a token, on a scale of powers of ten", others, "kl_mean", { type: "log", tickFormat: "~g", ticks: 5 }));
section("Perplexity", "How well the text is predicted.", scatter("perplexity", models, "perplexity", { zero: false }));

const shares = others.flatMap((m) => [["same first choice", m.top1_agreement], ["same experts", m.router_agreement]].filter(([, value]) => value !== null).map(([what, value]) => ({ name: m.short, what, value })));
section("Agreement", "Tokens for which a file finds the same next token most likely as the best one, and for which its routers choose the same experts.",
  figure("share of tokens", (width) => Plot.plot({
    width, height: 60 + 52 * others.length, marginLeft: Math.min(160, width / 3), color: { legend: true },
    x: { label: null, tickFormat: "%", grid: true, domain: [Math.min(0.9, d3.min(shares, (one) => one.value)), 1] },
    fy: { label: null, domain: others.map((m) => m.short) }, y: { axis: null },
    marks: [
      Plot.ruleY(shares, { fy: "name", y: "what", x1: () => Math.min(0.9, d3.min(shares, (one) => one.value)), x2: "value", stroke: "what", strokeWidth: 2 }),
      Plot.dot(shares, { fy: "name", y: "what", x: "value", fill: "what", r: 5, tip: { format: { x: ".2%", y: false } } }),
    ],
  })));

if (timed) {
  section("Speed", `Tokens a second here, by ${data.isa}.`, element("div", { class: "side" },
    scatter("answers", models, "decode_tokens_per_second", { zero: true }),
    scatter("prompts", models, "prompt_tokens_per_second", { zero: true })));
}
main.append(element("footer", {}, "By localmix quality. Drawn by Observable Plot and D3 (ISC licence), whose terms are in this file."));

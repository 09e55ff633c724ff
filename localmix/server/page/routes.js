"use strict";
// Which experts wrote an answer: every token underlined in the colour of its first expert in one layer, and a picture of
// how often each expert of each layer was chosen. `tokens` are [text, experts (layers, active)] pairs.

const Routes = (() => {
  const { html, useState } = htmPreact;
  const colour = (expert, count) => `hsl(${Math.round((360 * expert) / count)} 65% 50%)`;

  function Picture({ tokens, layers, experts, layer, choose }) {
    const counts = Array.from({ length: layers }, () => new Array(experts).fill(0));
    for (const [, chosen] of tokens) chosen.forEach((row, l) => row.forEach((expert) => (counts[l][expert] += 1)));
    const most = Math.max(1, ...counts.flat());
    const [left, size] = [26, 100 / Math.max(experts, 8)];
    const tall = Math.min(size, 6);
    return html`<svg viewBox="0 0 ${left + 100 + 2} ${layers * tall + 12}" role="img"
        aria-label="How often each expert of each layer was chosen">
      ${counts.map((row, l) => html`<g onClick=${() => choose(l)}>
        <text x=${left - 2} y=${l * tall + tall * 0.75} text-anchor="end" font-size=${Math.min(tall, 5)}>${l === layer ? "▸" : ""}${l}</text>
        ${row.map((count, expert) => html`<rect x=${left + expert * size} y=${l * tall} width=${size * 0.94}
          height=${tall * 0.9} fill=${colour(expert, experts)} fill-opacity=${0.06 + (0.94 * count) / most}>
          <title>layer ${l}, expert ${expert}: ${count} of ${tokens.length} tokens</title></rect>`)}
      </g>`)}
      <text x=${left} y=${layers * tall + 8}>expert 0 … ${experts - 1}</text>
    </svg>`;
  }

  return function Routes({ tokens, experts }) {
    const layers = tokens[0][1].length;
    const [layer, choose] = useState(0);
    const [shown, show] = useState(null);
    const said = shown === null ? `layer ${layer}: point at a token`
      : `${JSON.stringify(tokens[shown][0])}: ` + tokens[shown][1].map((row, l) => `${l}: ${row.join(" ")}`).join("  ·  ");
    return html`<div class="routes">
      <div class="text" onMouseLeave=${() => show(null)}>
        ${tokens.map(([text, chosen], place) => html`<span style=${{ borderColor: colour(chosen[layer][0], experts) }}
          title=${chosen.map((row, l) => `layer ${l}: experts ${row.join(", ")}`).join("\n")}
          onMouseEnter=${() => show(place)}>${text}</span>`)}
      </div>
      <div class="shown">${said}</div>
      <${Picture} tokens=${tokens} layers=${layers} experts=${experts} layer=${layer} choose=${choose} />
    </div>`;
  };
})();

"use strict";
// Which experts wrote an answer: every token underlined in the colour of its first expert in one layer, and a picture of
// how often each expert of each layer was chosen. `tokens` are [text, experts (layers, active)] pairs.

const Routes = (() => {
  const { html, useState, useEffect, useRef } = htmPreact;
  const colour = (expert, count) => `hsl(${Math.round((360 * expert) / count)} 65% 50%)`;

  function Picture({ tokens, layers, experts, layer, choose }) {
    const counts = Array.from({ length: layers }, () => new Array(experts).fill(0));
    for (const [, chosen] of tokens) chosen.forEach((row, l) => row.forEach((expert) => (counts[l][expert] += 1)));
    const most = Math.max(1, ...counts.flat());
    return html`<div class="picture">
      ${counts.map((row, l) => html`<button class="row" aria-pressed=${l === layer} aria-label="layer ${l}" onClick=${() => choose(l)}>
        <span class="layer">${l}</span>
        ${row.map((count, expert) => html`<span class="cell" title="layer ${l}, expert ${expert}: ${count} of ${tokens.length} tokens"
          style=${{ background: colour(expert, experts), opacity: 0.06 + (0.94 * count) / most }}></span>`)}
      </button>`)}
      <div class="legend"><span>layer</span><span>expert 0</span><span>… ${experts - 1}</span></div>
    </div>`;
  }

  return function Routes({ tokens, experts }) {
    const layers = tokens[0][1].length;
    const [layer, choose] = useState(0);
    const [shown, show] = useState(null);
    const box = useRef();
    useEffect(() => box.current.scrollIntoView({ block: "nearest" }), []);
    const said = shown === null ? `Layer ${layer}: point at a token, or click another layer.`
      : `${JSON.stringify(tokens[shown][0])} by layer: ` + tokens[shown][1].map((row, l) => `${l}: ${row.join(" ")}`).join("  ·  ");
    return html`<div class="routes" ref=${box}>
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

"use strict";
// What is asked of every answer, how the page looks, and conversations as files.

const DEFAULTS = { system: "", temperature: "", top_p: "", max_tokens: "", seed: "", theme: "auto", routes: true };
const savedSettings = () => ({ ...DEFAULTS, ...JSON.parse(localStorage.getItem("settings") || "{}") });

/** The fields of a request that the settings say. */
function asked(settings) {
  const number = (text) => (text === "" ? undefined : Number(text));
  return { temperature: number(settings.temperature), top_p: number(settings.top_p),
    max_tokens: number(settings.max_tokens), seed: number(settings.seed), routes: settings.routes || undefined };
}

const Settings = (() => {
  const { html, useEffect, useRef } = htmPreact;

  function exported(talks) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(talks, null, 1)], { type: "application/json" }));
    link.download = "localmix-conversations.json";
    link.click();
    URL.revokeObjectURL(link.href);
  }

  return function Settings({ settings, change, close, talks, take }) {
    const box = useRef();
    useEffect(() => box.current.showModal(), []);
    const set = (name, value) => change({ ...settings, [name]: value });
    const number = (name, label, step) => html`<label>${label}<input name=${name} type="number" step=${step}
      placeholder="default" value=${settings[name]} onInput=${(event) => set(name, event.target.value)} /></label>`;
    return html`<dialog ref=${box} onClose=${close} aria-labelledby="settings">
      <h2 id="settings">Settings</h2>
      <label>System prompt<textarea rows="3" value=${settings.system}
        onInput=${(event) => set("system", event.target.value)} /></label>
      <div class="pair">${number("temperature", "Temperature", "0.1")}${number("top_p", "Top p", "0.05")}
        ${number("max_tokens", "Most tokens", "1")}${number("seed", "Seed", "1")}</div>
      <label>Theme<select value=${settings.theme} onChange=${(event) => set("theme", event.target.value)}>
        ${["auto", "light", "dark"].map((name) => html`<option value=${name} selected=${settings.theme === name}>${name}</option>`)}
        </select></label>
      <label class="check"><input type="checkbox" checked=${settings.routes}
        onChange=${(event) => set("routes", event.target.checked)} />tell which experts wrote each token</label>
      <label>API key, kept until this tab is closed<input type="password" autocomplete="off"
        value=${sessionStorage.getItem("key") || ""} onInput=${(event) => sessionStorage.setItem("key", event.target.value)} /></label>
      <div class="foot">
        <button onClick=${() => exported(talks)}>export all</button>
        <label class="file">import<input type="file" accept="application/json" onChange=${async (event) =>
          take(JSON.parse(await event.target.files[0].text()))} /></label>
        <button class="main" onClick=${() => box.current.close()}>done</button></div>
    </dialog>`;
  };
})();

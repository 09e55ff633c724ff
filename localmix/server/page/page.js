"use strict";
// The chat: asks /v1/chat/completions, draws what comes, keeps it by `store`. The key lives as long as the tab.

(() => {
  const { html, render, useState, useEffect, useRef, useMemo } = htmPreact;
  const DEFAULTS = { system: "", temperature: "", top_p: "", max_tokens: "", seed: "", theme: "auto", routes: true };
  const saved = () => ({ ...DEFAULTS, ...JSON.parse(localStorage.getItem("settings") || "{}") });

  const markdown = markdownit({ html: false, linkify: true, breaks: false,
    highlight: (text, language) => hljs.getLanguage(language) ? hljs.highlight(text, { language }).value : "" });

  function drawn(text) {
    const clean = DOMPurify.sanitize(markdown.render(text), { FORBID_TAGS: ["style", "form", "input"], FORBID_ATTR: ["style"] });
    const box = document.createElement("template");
    box.innerHTML = clean;
    for (const image of box.content.querySelectorAll("img")) image.replaceWith(image.alt || image.src);
    for (const link of box.content.querySelectorAll("a")) {
      link.target = "_blank";
      link.rel = "noopener noreferrer";
    }
    for (const code of box.content.querySelectorAll("pre")) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "copy";
      button.className = "copy";
      code.append(button);
    }
    return box.innerHTML;
  }

  async function copy(event) {
    if (!event.target.classList.contains("copy")) return;
    await navigator.clipboard.writeText(event.target.parentNode.querySelector("code").textContent);
    event.target.textContent = "copied";
    setTimeout(() => (event.target.textContent = "copy"), 1200);
  }

  const headers = () => {
    const key = sessionStorage.getItem("key");
    return { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) };
  };

  /** Ask, and call `take` with each object of the stream. */
  async function ask(body, signal, take) {
    const found = await fetch("v1/chat/completions", { method: "POST", headers: headers(), body: JSON.stringify(body), signal });
    if (!found.ok) throw new Error((await found.json()).error.message);
    const reader = found.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
        const event = JSON.parse(line.slice(6));
        if (event.error) throw new Error(event.error.message);
        take(event);
      }
    }
  }

  function request(talk, settings) {
    const number = (text) => (text === "" ? undefined : Number(text));
    const messages = path(talk).filter((node) => node.content).map(({ role, content }) => ({ role, content }));
    if (settings.system) messages.unshift({ role: "system", content: settings.system });
    return { messages, stream: true, stream_options: { include_usage: true }, routes: settings.routes || undefined,
      temperature: number(settings.temperature), top_p: number(settings.top_p), max_tokens: number(settings.max_tokens),
      seed: number(settings.seed) };
  }

  function Stats({ node, context }) {
    const s = node.stats;
    if (!s) return null;
    const used = s.prompt + s.answer;
    return html`<span>${s.answer} tokens at ${s.rate.toFixed(1)} t/s</span>
      <span>prompt ${s.prompt}, ${Math.round((100 * s.cached) / Math.max(s.prompt, 1))} % from the cache</span>
      <span>context ${Math.round((100 * used) / context)} %</span>`;
  }

  function Answer({ node, busy, model }) {
    const [open, set] = useState(false);
    const text = useMemo(() => ({ __html: drawn(node.content) }), [node.content]);
    return html`${node.thought && html`<details class="thought" open=${busy && !node.content}><summary>thinking</summary>
        <div>${node.thought}</div></details>`}
      <div class="markdown" onClick=${copy} dangerouslySetInnerHTML=${text}></div>
      ${node.error && html`<p class="error" role="alert">${node.error}</p>`}
      ${node.tokens?.length > 0 && html`<div class="tools"><button onClick=${() => set(!open)} aria-expanded=${open}>
        ${open ? "hide" : "show"} experts</button></div>`}
      ${open && html`<${Routes} tokens=${node.tokens} experts=${model.meta.n_expert} />`}`;
  }

  function Turn({ talk, node, busy, model, act }) {
    const [draft, edit] = useState(null);
    const all = siblings(talk, node);
    const place = all.indexOf(node);
    const go = (step) => act.show(all[place + step]);
    return html`<article class=${node.role}>
      ${draft === null
        ? node.role === "user" ? html`<div class="body">${node.content}</div>` : html`<${Answer} ...${{ node, busy, model }} />`
        : html`<form class="ask" onSubmit=${(event) => { event.preventDefault(); edit(null); act.send(draft, node.parent); }}>
            <div><textarea rows="3" aria-label="Edit the message" value=${draft} onInput=${(e) => edit(e.target.value)} />
            <button class="main">send</button><button type="button" onClick=${() => edit(null)}>cancel</button></div></form>`}
      <div class="tools">
        ${all.length > 1 && html`<span><button aria-label="branch before" disabled=${!place} onClick=${() => go(-1)}>‹</button>
          ${place + 1}/${all.length}
          <button aria-label="next branch" disabled=${place + 1 === all.length} onClick=${() => go(1)}>›</button></span>`}
        ${!busy && (node.role === "user" ? html`<button onClick=${() => edit(node.content)}>edit</button>`
          : html`<button onClick=${() => act.again(node)}>again</button>
            <button onClick=${() => navigator.clipboard.writeText(node.content)}>copy</button>`)}
        <${Stats} node=${node} context=${model.meta.n_ctx} />
      </div>
    </article>`;
  }

  function Settings({ settings, change, close, talks, take }) {
    const box = useRef();
    useEffect(() => box.current.showModal(), []);
    const field = (name, label, more) => html`<label>${label}<input name=${name} value=${settings[name]} ...${more}
      onInput=${(event) => change({ ...settings, [name]: event.target.value })} /></label>`;
    const number = (name, label, step) => field(name, label, { type: "number", step, placeholder: "default" });
    function exported() {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([JSON.stringify(talks, null, 1)], { type: "application/json" }));
      link.download = "localmix-conversations.json";
      link.click();
      URL.revokeObjectURL(link.href);
    }
    return html`<dialog ref=${box} onClose=${close}>
      <label>System prompt<textarea rows="3" value=${settings.system}
        onInput=${(event) => change({ ...settings, system: event.target.value })} /></label>
      <div class="pair">${number("temperature", "Temperature", "0.1")}${number("top_p", "Top p", "0.05")}
        ${number("max_tokens", "Most tokens", "1")}${number("seed", "Seed", "1")}</div>
      <label>Theme<select value=${settings.theme} onChange=${(event) => change({ ...settings, theme: event.target.value })}>
        ${["auto", "light", "dark"].map((name) => html`<option value=${name} selected=${settings.theme === name}>${name}</option>`)}
        </select></label>
      <label><input type="checkbox" checked=${settings.routes} style=${{ width: "auto" }}
        onChange=${(event) => change({ ...settings, routes: event.target.checked })} /> tell which experts wrote each token</label>
      <label>API key, kept until this tab is closed<input type="password" autocomplete="off"
        value=${sessionStorage.getItem("key") || ""} onInput=${(event) => sessionStorage.setItem("key", event.target.value)} /></label>
      <div class="tools"><button onClick=${exported}>export all</button>
        <label>import <input type="file" accept="application/json" onChange=${async (event) => take(JSON.parse(await event.target.files[0].text()))} /></label>
        <button class="main" onClick=${() => box.current.close()}>done</button></div>
    </dialog>`;
  }

  function Ask({ send, stop, busy, box }) {
    const fit = () => { box.current.style.height = "auto"; box.current.style.height = `${box.current.scrollHeight + 2}px`; };
    function submit(event) {
      event.preventDefault();
      const text = box.current.value.trim();
      if (!text || busy) return;
      box.current.value = "";
      fit();
      send(text);
    }
    const key = (event) => event.key === "Enter" && !event.shiftKey && !event.isComposing && submit(event);
    return html`<form class="ask" onSubmit=${submit}><div>
      <textarea ref=${box} rows="1" placeholder="Ask something" aria-label="Message" onInput=${fit} onKeyDown=${key} />
      ${busy ? html`<button type="button" onClick=${stop}>stop</button>` : html`<button class="main">send</button>`}</div></form>`;
  }

  function App() {
    const [model, setModel] = useState({ id: "", meta: { n_ctx: 1, n_expert: 0 } });
    const [talks, setTalks] = useState([]);
    const [talk, setTalk] = useState(newTalk);
    const [settings, setSettings] = useState(saved);
    const [busy, setBusy] = useState(false);
    const [wanted, setWanted] = useState("");
    const [dialog, setDialog] = useState(false);
    const [aside, setAside] = useState(false);
    const abort = useRef(null), box = useRef(), end = useRef();
    const [, redraw] = useState(0);

    const refresh = async () => setTalks((await store.all()).sort((a, b) => b.changed - a.changed));
    useEffect(() => {
      refresh();
      fetch("v1/models", { headers: headers() }).then((found) => found.json()).then((found) => found.data && setModel(found.data[0]));
    }, [dialog]);
    useEffect(() => {
      const dark = settings.theme === "dark" || (settings.theme === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
      document.documentElement.dataset.theme = dark ? "dark" : "light";
      localStorage.setItem("settings", JSON.stringify(settings));
    }, [settings]);
    useEffect(() => {
      const key = (event) => {
        if (event.key === "Escape" && abort.current) abort.current.abort();
        if (event.ctrlKey && event.shiftKey && event.key.toLowerCase() === "o") { event.preventDefault(); fresh(); }
        if (event.key === "/" && event.target === document.body) { event.preventDefault(); box.current.focus(); }
      };
      addEventListener("keydown", key);
      return () => removeEventListener("keydown", key);
    }, []);

    function fresh() {
      if (abort.current) abort.current.abort();
      setTalk(newTalk());
      setAside(false);
      box.current.focus();
    }

    function add(on, role, content, parent) {
      const node = { id: crypto.randomUUID(), parent, role, content, made: Date.now() };
      on.nodes[node.id] = node;
      on.leaf = node.id;
      return node;
    }

    async function answer(on) {
      const body = request(on, settings);
      const node = add(on, "assistant", "", on.leaf);
      Object.assign(node, { thought: "", tokens: [] });
      abort.current = new AbortController();
      setBusy(true);
      const start = performance.now();
      try {
        await ask(body, abort.current.signal, (event) => {
          const choice = event.choices[0];
          if (choice) {
            const text = choice.delta.content || "";
            node.content += text;
            node.thought += choice.delta.reasoning_content || "";
            for (const [place, experts] of (choice.routes || []).entries()) {
              node.tokens.push([place + 1 === choice.routes.length ? text || choice.delta.reasoning_content || "" : "", experts]);
            }
          } else if (event.usage) {
            node.stats = { answer: event.usage.completion_tokens, prompt: event.usage.prompt_tokens,
              cached: event.usage.prompt_tokens_details.cached_tokens, rate: event.timings.predicted_per_second };
          }
          schedule();
        });
      } catch (error) {
        if (error.name !== "AbortError") node.error = error.message;
      }
      node.seconds = (performance.now() - start) / 1000;
      abort.current = null;
      setBusy(false);
      await keep(on);
    }

    let drawing = false;
    function schedule() {
      if (drawing) return;
      drawing = true;
      requestAnimationFrame(() => {
        drawing = false;
        const at = end.current, near = at && at.scrollHeight - at.scrollTop - at.clientHeight < 120;
        redraw((n) => n + 1);
        if (near) requestAnimationFrame(() => (at.scrollTop = at.scrollHeight));
      });
    }

    async function keep(on) {
      on.changed = Date.now();
      on.title ||= (path(on)[0]?.content || "").slice(0, 60);
      await store.put(on);
      await refresh();
    }

    const act = {
      send(text, parent = talk.leaf) {
        add(talk, "user", text, parent);
        schedule();
        answer(talk);
      },
      again(node) {
        talk.leaf = node.parent;
        answer(talk);
      },
      show(node) {
        talk.leaf = descend(talk, node);
        redraw((n) => n + 1);
      },
    };
    async function take(found) {
      for (const one of Array.isArray(found) ? found : []) if (one.id && one.nodes) await store.put(one);
      refresh();
    }
    const turns = path(talk);
    const listed = talks.filter((one) => JSON.stringify(Object.values(one.nodes).map((n) => n.content)).toLowerCase()
      .includes(wanted.toLowerCase()));
    return html`<div class="shell">
      <aside class=${aside ? "shown" : ""}>
        <button class="main" onClick=${fresh} title="Ctrl+Shift+O">new chat</button>
        <input type="search" placeholder="search" aria-label="Search conversations" value=${wanted}
          onInput=${(event) => setWanted(event.target.value)} />
        <ul>${listed.map((one) => html`<li class=${one.id === talk.id ? "on" : ""} key=${one.id}>
          <button disabled=${busy} onClick=${() => { setTalk(one); setAside(false); }}>${one.title || "untitled"}</button>
          <button aria-label="delete" disabled=${busy} onClick=${async () => { await store.remove(one.id);
            if (one.id === talk.id) setTalk(newTalk()); refresh(); }}>×</button></li>`)}</ul>
        <button class="open" onClick=${() => setAside(false)}>close</button>
      </aside>
      <main>
        <header><button class="open" aria-label="conversations" onClick=${() => setAside(true)}>☰</button>
          <span class="name">${model.id}</span><button onClick=${() => setDialog(true)}>settings</button></header>
        <div class="talk" ref=${end} aria-live="polite">
          ${turns.length === 0 && html`<p class="empty">${model.id || "localmix"}<br />Enter sends, Shift+Enter is a new line, Esc stops.</p>`}
          ${turns.map((node) => html`<${Turn} key=${node.id} ...${{ talk, node, busy, model, act }} />`)}
        </div>
        <${Ask} send=${(text) => act.send(text)} stop=${() => abort.current?.abort()} busy=${busy} box=${box} />
      </main>
      ${dialog && html`<${Settings} settings=${settings} change=${setSettings} close=${() => setDialog(false)} talks=${talks} take=${take} />`}
    </div>`;
  }

  render(html`<${App} />`, document.getElementById("app"));
})();

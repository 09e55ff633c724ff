"use strict";
// The chat: what was said and is being said, and where to say more.

(() => {
  const { html, render, useState, useEffect, useRef, useMemo } = htmPreact;
  const ENDS = { length: "ended at the limit", stopped: "stopped" };

  function request(talk, settings) {
    const messages = path(talk).filter((node) => node.content).map(({ role, content }) => ({ role, content }));
    if (settings.system) messages.unshift({ role: "system", content: settings.system });
    return { messages, stream: true, stream_options: { include_usage: true }, ...asked(settings) };
  }

  function Stats({ node, context }) {
    const s = node.stats;
    return html`${ENDS[node.reason] && html`<span>${ENDS[node.reason]}</span>`}
      ${s && html`<span>${s.answer} tokens at ${s.rate.toFixed(1)} t/s</span>
      <span>prompt ${s.prompt}, ${Math.round((100 * s.cached) / Math.max(s.prompt, 1))} % from the cache</span>
      <span>context ${Math.round((100 * (s.prompt + s.answer)) / context)} %</span>`}`;
  }

  function Answer({ node, busy }) {
    const text = useMemo(() => ({ __html: drawn(node.content) }), [node.content]);
    return html`${node.thought && html`<details class="thought" open=${busy && !node.content}><summary>thinking</summary>
        <div>${node.thought}</div></details>`}
      ${busy && !node.content && !node.thought && html`<p class="waiting" aria-label="waiting">…</p>`}
      <div class="markdown" onClick=${copyCode} dangerouslySetInnerHTML=${text}></div>
      ${node.error && html`<p class="error" role="alert">${node.error}</p>`}`;
  }

  function Edit({ text, send, close }) {
    const box = useRef();
    useEffect(() => box.current.focus(), []);
    const submit = (event) => { event.preventDefault(); send(box.current.value); };
    const key = (event) => event.key === "Escape" ? close() : event.key === "Enter" && !event.shiftKey && submit(event);
    return html`<form class="ask" onSubmit=${submit}><div>
      <textarea ref=${box} rows="3" aria-label="Edit the message" onKeyDown=${key}>${text}</textarea>
      <button class="main">send</button><button type="button" onClick=${close}>cancel</button></div></form>`;
  }

  function Turn({ talk, node, busy, model, act }) {
    const [editing, edit] = useState(false);
    const [open, show] = useState(false);
    const all = siblings(talk, node);
    const place = all.indexOf(node);
    const go = (step) => act.show(all[place + step]);
    const answered = node.role === "assistant";
    const writing = busy && node.id === talk.leaf;
    return html`<article class=${node.role}>
      ${editing ? html`<${Edit} text=${node.content} close=${() => edit(false)}
          send=${(text) => { edit(false); act.send(text, node.parent); }} />`
        : answered ? html`<${Answer} ...${{ node, busy: writing }} />` : html`<div class="body">${node.content}</div>`}
      <div class="tools">
        ${all.length > 1 && html`<span><button aria-label="branch before" disabled=${busy || !place} onClick=${() => go(-1)}>‹</button>
          ${place + 1}/${all.length}
          <button aria-label="next branch" disabled=${busy || place + 1 === all.length} onClick=${() => go(1)}>›</button></span>`}
        ${!busy && !answered && html`<button onClick=${() => edit(true)}>edit</button>`}
        ${!busy && answered && html`<button onClick=${() => act.again(node)}>again</button>`}
        ${!busy && answered && node.content && html`<button onClick=${(event) => copyText(node.content, event.target)}>copy</button>`}
        ${node.tokens?.length > 0 && !writing && html`<button onClick=${() => show(!open)} aria-expanded=${open}>
          ${open ? "hide" : "show"} experts</button>`}
        <${Stats} node=${node} context=${model.meta.n_ctx} />
      </div>
      ${open && html`<${Routes} tokens=${node.tokens} experts=${model.meta.n_expert} />`}
    </article>`;
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

  function Talks({ talks, talk, busy, open, remove }) {
    const [wanted, want] = useState("");
    const [doomed, doom] = useState(null);
    const holds = (one) => Object.values(one.nodes).some((node) => node.content.toLowerCase().includes(wanted.toLowerCase()));
    return html`<input type="search" placeholder="search" aria-label="Search conversations" value=${wanted}
        onInput=${(event) => want(event.target.value)} />
      <ul onMouseLeave=${() => doom(null)}>${talks.filter(holds).map((one) => html`<li class=${one.id === talk.id ? "on" : ""} key=${one.id}>
        <button disabled=${busy} onClick=${() => open(one)}>${one.title || "untitled"}</button>
        <button aria-label=${doomed === one.id ? "delete for good" : "delete"} disabled=${busy}
          onClick=${() => (doomed === one.id ? remove(one) : doom(one.id))}>${doomed === one.id ? "delete?" : "×"}</button></li>`)}</ul>`;
  }

  function App() {
    const [model, setModel] = useState({ id: "", meta: { n_ctx: 1, n_expert: 0 } });
    const [talks, setTalks] = useState([]);
    const [talk, setTalk] = useState(newTalk);
    const [settings, setSettings] = useState(savedSettings);
    const [busy, setBusy] = useState(false);
    const [dialog, setDialog] = useState(false);
    const [aside, setAside] = useState(false);
    const abort = useRef(null), box = useRef(), end = useRef(), follows = useRef(true);
    const [, redraw] = useState(0);

    const refresh = async () => setTalks((await store.all()).sort((a, b) => b.changed - a.changed));
    useEffect(() => {
      refresh();
      client.model().then((found) => found && setModel(found));
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
    useEffect(() => { end.current.scrollTop = end.current.scrollHeight; }, [talk]);

    function fresh() {
      if (abort.current) abort.current.abort();
      open(newTalk());
      box.current.focus();
    }

    function open(one) {
      setTalk(one);
      setAside(false);
      follows.current = true;
    }

    function add(on, role, content, parent) {
      const node = { id: newId(), parent, role, content, made: Date.now() };
      on.nodes[node.id] = node;
      on.leaf = node.id;
      return node;
    }

    function take(node, event) {
      const choice = event.choices[0];
      if (choice) {
        const text = choice.delta.content || "", thought = choice.delta.reasoning_content || "";
        node.content += text;
        node.thought += thought;
        node.reason = choice.finish_reason;
        for (const [place, experts] of (choice.routes || []).entries()) {
          node.tokens.push([place + 1 === choice.routes.length ? text || thought : "", experts]);
        }
      } else if (event.usage) {
        node.stats = { answer: event.usage.completion_tokens, prompt: event.usage.prompt_tokens,
          cached: event.usage.prompt_tokens_details.cached_tokens, rate: event.timings.predicted_per_second };
      }
      schedule();
    }

    async function answer(on) {
      const body = request(on, settings);
      const node = Object.assign(add(on, "assistant", "", on.leaf), { thought: "", tokens: [] });
      abort.current = new AbortController();
      follows.current = true;
      setBusy(true);
      schedule();
      try {
        await client.ask(body, abort.current.signal, (event) => take(node, event));
      } catch (error) {
        if (error.name === "AbortError") node.reason = "stopped";
        else node.error = error.message;
      }
      abort.current = null;
      setBusy(false);
      schedule();
      await keep(on);
    }

    let drawing = false;
    function schedule() {
      if (drawing) return;
      drawing = true;
      requestAnimationFrame(() => {
        drawing = false;
        redraw((n) => n + 1);
        requestAnimationFrame(() => { if (follows.current) end.current.scrollTop = end.current.scrollHeight; });
      });
    }

    function scrolled() {
      const at = end.current;
      follows.current = at.scrollHeight - at.scrollTop - at.clientHeight < 60;
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
    async function remove(one) {
      await store.remove(one.id);
      if (one.id === talk.id) setTalk(newTalk());
      refresh();
    }
    async function bring(found) {
      for (const one of Array.isArray(found) ? found : []) if (one.id && one.nodes) await store.put(one);
      refresh();
    }
    const turns = path(talk);
    return html`<div class="shell">
      <aside class=${aside ? "shown" : ""}>
        <button class="main" onClick=${fresh} title="Ctrl+Shift+O">new chat</button>
        <${Talks} ...${{ talks, talk, busy, open, remove }} />
        <button class="open" onClick=${() => setAside(false)}>close</button>
      </aside>
      <main>
        <header><button class="open" aria-label="conversations" onClick=${() => setAside(true)}>☰</button>
          <span class="name">${model.id}</span><button onClick=${() => setDialog(true)}>settings</button></header>
        <div class="talk" ref=${end} aria-live="polite" onScroll=${scrolled}>
          ${turns.length === 0 && html`<p class="empty">${model.id || "localmix"}<br />Enter sends, Shift+Enter is a new line, Esc stops.</p>`}
          ${turns.map((node) => html`<${Turn} key=${node.id} ...${{ talk, node, busy, model, act }} />`)}
        </div>
        <${Ask} send=${(text) => act.send(text)} stop=${() => abort.current?.abort()} busy=${busy} box=${box} />
      </main>
      ${dialog && html`<${Settings} settings=${settings} change=${setSettings} close=${() => setDialog(false)} talks=${talks} take=${bring} />`}
    </div>`;
  }

  render(html`<${App} />`, document.getElementById("app"));
})();

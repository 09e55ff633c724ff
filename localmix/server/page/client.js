"use strict";
// Asks the server that the page is from. The key lives as long as the tab.

const client = (() => {
  const headers = () => {
    const key = sessionStorage.getItem("key");
    return { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) };
  };

  /** Ask, and call `take` with each object of the stream. Throws what went wrong, in words. */
  async function ask(body, signal, take) {
    const found = await fetch("v1/chat/completions", { method: "POST", headers: headers(), body: JSON.stringify(body), signal })
      .catch((error) => { throw error.name === "AbortError" ? error : new Error("The server does not answer."); });
    if (found.status === 401) throw new Error("The server wants an API key: enter it in the settings.");
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

  async function model() {
    const found = await fetch("v1/models", { headers: headers() });
    return (await found.json()).data?.[0];
  }

  return { ask, model };
})();

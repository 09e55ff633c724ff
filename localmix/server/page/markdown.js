"use strict";
// The text of a model as HTML that can do no harm: markdown without raw HTML, cleaned once more, no image fetched.

const { drawn, copyText, copyCode } = (() => {
  const markdown = markdownit({ html: false, linkify: true, breaks: false,
    highlight: (text, language) => hljs.getLanguage(language) ? hljs.highlight(text, { language }).value : "" });
  /** Cells say how they are aligned by a class: the page's policy allows no styles of their own. */
  for (const cell of ["th_open", "td_open"]) {
    markdown.renderer.rules[cell] = (tokens, place, options, env, self) => {
      const style = tokens[place].attrGet("style");
      if (style) tokens[place].attrs = [["class", style.replace("text-align:", "")]];
      return self.renderToken(tokens, place, options);
    };
  }

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

  /** Browsers lend the clipboard to pages of this machine alone; elsewhere a selection is copied. */
  async function copyText(text, button) {
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else {
      const box = document.body.appendChild(document.createElement("textarea"));
      box.value = text;
      box.select();
      document.execCommand("copy");
      box.remove();
    }
    button.textContent = "copied";
    setTimeout(() => (button.textContent = "copy"), 1200);
  }

  function copyCode(event) {
    const button = event.target;
    if (button.classList.contains("copy")) copyText(button.parentNode.querySelector("code").textContent, button);
  }

  return { drawn, copyText, copyCode };
})();

/* The model's line under the header: what it is, what it knows, what there is to read, how long a Generate takes. */
window.RudderModel = (() => {
  const every = 1500;  // milliseconds between two questions about its pace
  let pace = null;

  const skeleton = `
    <nav class="rd-models" aria-label="Models" hidden></nav>
    <p class="rd-model-line"><b></b> <span class="rd-model-facts"></span></p>
    <nav class="rd-model-links" aria-label="Read more"></nav>
    <details class="rd-model-more"><summary>About it</summary><div></div></details>`;

  function make(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  function put(column, text, whole) {
    const box = document.querySelector(`#rd-prompt-${column} textarea`);
    if (!box) return;
    box.value = whole || !box.value.trim() ? text : `${box.value.trimEnd()} ${text}`;
    box.dispatchEvent(new Event("input", { bubbles: true }));
    box.focus();
  }

  function more(root, told) {
    root.replaceChildren();
    if (told.description) root.append(make("p", "", told.description));
    for (const [column, title, prompts] of [["a", "Prompts many pictures fit", told.ordinary],
      ["b", "Prompts it has by heart", told.memorized]]) {
      if (!prompts.length) continue;
      root.append(make("h3", "", title), chips(prompts, (prompt) => put(column, prompt, true)));
    }
    if (told.words.length) {
      root.append(make("h3", "", `The ${told.words.length} words it was taught`),
        make("p", "", "A click adds a word to the prompt; any other word is ignored, and the page says so."),
        chips(told.words, (word) => put("a", word, false)));
    } else if (!told.memorized.length) {
      root.append(make("p", "", "It comes without a list of words: any prompt may do, and no example is known to be one "
        + "it was trained on."));
    }
  }

  /* Every model has a page of its own: going there stops what runs here, and leaves nothing behind. */
  function models(nav, menu) {
    nav.hidden = menu.length === 0;
    for (const { title, href } of menu) {
      const link = make("a", "", title);
      if (href) link.href = href; else link.setAttribute("aria-current", "page");
      link.addEventListener("click", () => { if (href) Rudder.stop(); });
      nav.append(link);
    }
  }

  function chips(texts, choose) {
    const list = make("div", "rd-chips");
    for (const text of texts) {
      const chip = make("button", "", text);
      chip.type = "button";
      chip.addEventListener("click", () => choose(text));
      list.append(chip);
    }
    return list;
  }

  function mount({ element, props, server }) {
    const root = element.querySelector(".rd-model");
    root.innerHTML = skeleton;
    const find = (selector) => root.querySelector(selector);
    const told = props.value;
    find("b").textContent = told.name;
    find(".rd-model-facts").textContent = [`${told.resolution} × ${told.resolution} pixels`,
      told.words.length ? `${told.words.length} words` : ""].filter(Boolean).join(" · ");
    models(find(".rd-models"), told.menu);
    more(find(".rd-model-more div"), told);
    for (const { title, href } of told.links) {
      const link = make("a", "", title);
      link.href = href;
      link.target = "_blank";
      link.rel = "noopener";
      find(".rd-model-links").append(link);
    }
    if (told.paced) ask();

    /* The server times a step after the page is up: soon for a small model, in a minute for a large one. */
    async function ask() {
      try { pace = await server.pace(); } catch { /* busy or gone: asked again */ }
      if (pace) estimate(); else setTimeout(ask, every);
    }
  }

  /* What Generate will take, before it is pressed: pictures that are asked for first, then their whole strips. */
  function estimate() {
    const line = document.querySelector(".rd-estimate");
    if (!line) return;
    const number = (selector) => Number(document.querySelector(selector)?.value);
    const steps = number("#rd-steps input[type=number]");
    const columns = document.querySelector("#rd-compare input")?.checked ? 2 : 1;
    const concept = document.querySelector("#rd-concept input:checked")?.value;
    const frames = RudderPickers.framesOf(concept);
    if (!pace || !steps || !concept) { line.textContent = ""; return; }
    const from = document.querySelector("#rd-start input[type=number]") ? number("#rd-start input[type=number]")
      : RudderPickers.startOf(concept)[0];
    const before = Math.round(from * steps);
    const first = columns * (before + 2 * (steps - before)) * pace.alone;
    const whole = first + columns * frames * (steps - before) * pace.together;
    line.textContent = frames ? `Takes ${about(whole)} here: ${columns * frames} pictures in ${steps} steps each.`
      : "Its pictures are learned first, which takes longer than painting.";
  }

  function about(seconds) {
    if (seconds < 1) return "under a second";
    if (seconds < 90) return `about ${seconds > 20 ? Math.round(seconds / 10) * 10 : Math.round(seconds)} s`;
    return seconds < 5400 ? `about ${Math.round(seconds / 60)} min` : `about ${Math.round(seconds / 3600)} h`;
  }

  document.addEventListener("input", (event) => { if (event.target.closest?.("#rd-panel")) estimate(); });
  document.addEventListener("change", (event) => { if (event.target.closest?.("#rd-panel")) setTimeout(estimate, 60); });

  return { mount, estimate };
})();

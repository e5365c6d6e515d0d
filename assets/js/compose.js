/* The workbench: its state is one JSON object, {recipe, own, way, words}; requests carry tickets as the stage's do. */
window.RudderCompose = (() => {
  let bench = null;
  const halves = {
    both: "With and without the prompt alike.",
    conditional: "Only the prediction with the prompt.",
    opposite: "Added with the prompt, taken away without it: stronger.",
  };
  const text = (value) => String(value).replace(/[&<>"]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign]);

  const asks = (about) => ({
    prompt: `<label class="rd-field"><span>Prompt</span><textarea class="rd-bench-prompt" rows="3" placeholder="no prompt"></textarea></label>`,
    class: `<label class="rd-field"><span>Class</span><select class="rd-bench-prompt">
      <option value="">none</option>${about.classes.map((one) => `<option>${text(one)}</option>`).join("")}</select></label>`,
    nothing: "",
  })[about.reads];

  const skeleton = (about) => `
    <div class="rd-bench-start rd-sheet"><h2>Start from</h2>
      ${asks(about)}
      ${about.inverts ? `<div class="rd-bench-own">
        <button type="button" class="rd-button rd-bench-bring">Your picture</button>
        <div class="rd-bench-brought" hidden><img alt="Your picture, as the model sees it">
          <div><p class="rd-bench-error"></p><button type="button" class="rd-button is-small rd-bench-leave">Take it away</button></div></div>
        <label class="rd-field rd-bench-way" hidden><span>How it is inverted</span><select>
          <option value="edit_friendly">edit-friendly: exact, gentle to edit</option>
          <option value="ddim">DDIM: the sampler run backwards</option></select></label>
        <p class="rd-bench-needs" role="status" hidden></p></div>` : ""}
      <details class="rd-bench-settings"><summary>Seed, steps and guidance</summary><div>
        <label class="rd-field is-seed"><span>Seed</span><input type="number" class="rd-bench-seed" min="0" step="1"></label>
        <label class="rd-field"><span>Steps</span><input type="number" class="rd-bench-steps" min="1" max="${about.steps}" step="1"></label>
        ${about.guides ? `<label class="rd-field"><span>Guidance</span><input type="number" class="rd-bench-guidance" min="0" max="${about.guidance}" step="0.5"></label>
        ${about.reads === "prompt" ? `<label class="rd-field is-wide"><span>Negative prompt</span><input type="text" class="rd-bench-negative"></label>` : ""}
        <label class="rd-field is-wide"><span>Guidance half that is steered</span><select class="rd-bench-halves">
          <option value="both">both</option><option value="conditional">with the prompt</option><option value="opposite">opposite signs</option></select></label>
        <p class="rd-hint is-wide rd-bench-half"></p>` : ""}
      </div></details>
      <button type="button" class="rd-button is-quiet rd-bench-open">Open a picture made here</button>
    </div>
    <div class="rd-bench-middle">
      <div class="rd-bench-canvas"></div>
      <div class="rd-bench-bar">
        <button type="button" class="rd-button rd-mask-on" aria-pressed="false">Paint a mask</button>
        <span class="rd-mask-tools" hidden>
          <label>Brush <input type="range" class="rd-mask-size" min="2" max="24" step="1" value="8"></label>
          <button type="button" class="rd-button rd-mask-rub" aria-pressed="false">Rub out</button>
          <button type="button" class="rd-button rd-mask-turn">Swap</button>
          <button type="button" class="rd-button rd-mask-clear">Clear</button></span>
        <span class="rd-bench-moved"></span>
        <span class="rd-bench-ways"><button type="button" class="rd-undo" data-part="compose" aria-label="Undo" title="Undo (Ctrl+Z)" disabled></button>
          <button type="button" class="rd-redo" data-part="compose" aria-label="Redo" title="Redo (Ctrl+Y)" disabled></button>
          <button type="button" class="rd-copy">Copy link</button></span>
        <button type="button" class="rd-button rd-bench-download" disabled>Download</button>
      </div>
      <div class="rd-bench-actions">
        <button type="button" class="rd-bench-paint">Paint</button>
        <button type="button" class="rd-bench-stop" disabled>Stop</button>
        <p role="status" aria-live="polite"></p><i class="rd-bar"><i></i></i>
      </div>
      ${about.reads === "prompt" ? `<details class="rd-bench-words rd-sheet"><summary>Would words do the same?</summary><div>
        <label class="rd-field"><span>The whole prompt, with the change asked for in words</span><textarea rows="2" class="rd-bench-asked"></textarea></label>
        <button type="button" class="rd-button rd-bench-compare">Paint it by words too</button>
        <p class="rd-hint">The words get as much of the run, and the prompt's embedding moves as far, as it takes to change the picture as much as steering does: what differs is what changed, not how much.</p>
        <div class="rd-bench-rivals"></div></div></details>` : ""}
      <div class="rd-bench-readings"><section class="rd-reading" data-of="before" hidden></section>
        <section class="rd-reading" data-of="after" hidden></section></div>
    </div>
    <div class="rd-bench-terms rd-sheet"><h2>Steer with</h2><div class="rd-term-rows"></div>
      <button type="button" class="rd-button rd-term-add">Add a concept</button></div>`;

  function mount({ element, props, trigger, watch }) {
    const root = element.querySelector(".rd-bench");
    const about = props.about;
    root.innerHTML = skeleton(about);
    const find = (selector) => root.querySelector(selector);
    const state = { recipe: {}, own: "", way: "edit_friendly", words: "" };
    const run = { ticket: 0, busy: false, after: null, rivals: null };
    const owns = {}; // own pictures by their key: {src, said, marks}, for whoever goes back to one
    let concepts = [];
    const canvas = RudderCanvas.build(find(".rd-bench-canvas"), { onMask: () => { state.recipe.mask = canvas.mask(); masked(); due(true); } });
    const terms = RudderTerms.build(find(".rd-term-rows"), about, () => { full(); due(true); });
    const cards = Object.fromEntries(["before", "after"].map((which) => [which, RudderReading.card(find(`[data-of=${which}]`))]));

    const full = () => { find(".rd-term-add").disabled = terms.full(); };
    const due = (is) => { root.classList.toggle("is-due", is); RudderLink.changed("compose", values()); };

    /* The state as it is sent, kept in a link and restored from it. */
    function told() {
      const rows = terms.told();
      const recipe = { ...state.recipe, concepts: rows.map((term) => [term.name, term.strength]),
        uses: rows.map(({ operator, window, sites }) => ({ operator, window, sites })) };
      if (rows.length) recipe.window = rows[0].window;
      return { recipe, own: state.own, way: state.way, words: state.words };
    }

    /* What the address keeps: a picture of one's own does not travel, and its mark asks for it. */
    function values() {
      const { recipe, own, way, words } = told();
      const picture = own ? run.marks?.find((mark) => mark.startsWith(`${way} `)) || recipe.picture : recipe.picture;
      return [JSON.stringify({ recipe: { ...recipe, picture }, way, words }), own];
    }

    const lacks = () => (state.own ? "your own picture: it does not travel in a link, so send it" : "");

    const fields = { ".rd-bench-prompt": "prompt", ".rd-bench-seed": "seed", ".rd-bench-steps": "num_inference_steps",
      ".rd-bench-guidance": "guidance_scale", ".rd-bench-negative": "negative_prompt", ".rd-bench-halves": "halves" };
    for (const [selector, key] of Object.entries(fields)) {
      const field = find(selector);
      if (!field) continue;
      for (const kind of ["input", "change"]) {
        field.addEventListener(kind, () => {
          if (field.type === "number" && field.value.trim() === "") return;
          const value = field.type === "number" ? Number(field.value) : field.value;
          field.dataset.written = "yes";
          if (value === state.recipe[key]) return;
          state.recipe[key] = value;
          if (key === "halves") find(".rd-bench-half").textContent = halves[field.value];
          due(true);
        });
      }
      field.addEventListener("blur", () => { field.value = state.recipe[key]; });
    }

    function restore(wanted) {
      const { uses = [], concepts: named = [], ...recipe } = wanted.recipe;
      Object.assign(state, { recipe: { mask: "", picture: "", ...recipe }, own: wanted.own || "", way: wanted.way || "edit_friendly", words: wanted.words || "" });
      for (const [selector, key] of Object.entries(fields)) if (find(selector)) find(selector).value = state.recipe[key];
      if (about.guides) find(".rd-bench-half").textContent = halves[state.recipe.halves] || "";
      terms.set(named.map(([name, strength], place) => ({ name, strength, operator: uses[place]?.operator || "add",
        window: uses[place]?.window || state.recipe.window, sites: uses[place]?.sites || null })));
      canvas.setMask(state.recipe.mask);
      masked();
      const mine = owns[state.own];
      if (mine) run.marks = mine.marks;
      owned(mine?.src, mine ? mine.said : state.own ? undefined : "");
      full();
      if (find(".rd-bench-asked") && state.words) find(".rd-bench-asked").value = state.words;
    }

    /* A picture of the visitor's own, or the want of one. */
    function owned(source, said) {
      if (!about.inverts) return;
      const there = Boolean(state.own);
      find(".rd-bench-brought").hidden = !there && !state.recipe.picture;
      find(".rd-bench-brought img").hidden = !there;
      find(".rd-bench-way").hidden = !there;
      find(".rd-bench-way select").value = state.way;
      find(".is-seed").hidden = there;
      find(".rd-bench-bring").textContent = there ? "Another picture" : "Your picture";
      if (source) find(".rd-bench-brought img").src = source;
      if (said !== undefined) find(".rd-bench-error").textContent = said;
      if (find(".rd-bench-prompt")?.matches("textarea")) {
        find(".rd-bench-prompt").placeholder = there ? "what your picture shows (optional)" : "no prompt";
      }
      if (!there) needs("");
    }

    /* Another picture than before: the mask was painted on the old one, and a prompt that nobody wrote is not about it. */
    function fresh() {
      state.recipe.mask = "";
      canvas.setMask("");
      masked();
      if (state.own || !find(".rd-bench-prompt") || find(".rd-bench-prompt").dataset.written) return;
      state.recipe.prompt = find(".rd-bench-prompt").value = "";
    }

    function needs(said) {
      const line = find(".rd-bench-needs");
      if (!line) return;
      line.textContent = said;
      line.hidden = !said;
    }

    function masked() {
      const on = find(".rd-mask-on").getAttribute("aria-pressed") === "true";
      find(".rd-mask-on").textContent = on ? "Done" : state.recipe.mask ? "Edit the mask" : "Paint a mask";
      find(".rd-mask-tools").hidden = !on;
      canvas.figure.classList.toggle("has-mask", Boolean(state.recipe.mask));
      canvas.masking(on);
    }

    find(".rd-mask-on").addEventListener("click", () => {
      const button = find(".rd-mask-on");
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
      masked();
    });
    const brush = () => canvas.brush(Number(find(".rd-mask-size").value), find(".rd-mask-rub").getAttribute("aria-pressed") === "true");
    find(".rd-mask-size").addEventListener("input", brush);
    find(".rd-mask-rub").addEventListener("click", () => {
      const button = find(".rd-mask-rub");
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
      brush();
    });
    find(".rd-mask-turn").addEventListener("click", () => canvas.invert());
    find(".rd-mask-clear").addEventListener("click", () => { canvas.setMask(""); state.recipe.mask = ""; masked(); due(true); });
    brush();

    const press = (button) => document.querySelector(button)?.previousElementSibling?.click(); // its file input
    find(".rd-bench-open").addEventListener("click", () => press("#rd-compose-open"));
    find(".rd-bench-bring")?.addEventListener("click", () => press("#rd-compose-own"));
    find(".rd-bench-leave")?.addEventListener("click", () => {
      Object.assign(state, { own: "" });
      state.recipe.picture = "";
      owned(undefined, "");
      due(true);
    });
    find(".rd-bench-way select")?.addEventListener("change", (event) => { state.way = event.target.value; due(true); });
    find(".rd-term-add").addEventListener("click", () => terms.add());

    function paint() {
      due(false);
      Rudder.quiet();
      run.ticket += 1;
      run.busy = true;
      root.dataset.phase = "running";
      root.dataset.run = run.ticket;
      find(".rd-bench-stop").disabled = false;
      say("Starting", 0);
      trigger("paint", { ticket: run.ticket, state: told() });
      const { top, bottom } = canvas.figure.getBoundingClientRect();
      if (bottom < 80 || top > innerHeight - 80) canvas.figure.scrollIntoView({ block: "start" });
    }

    function rest(said) {
      run.busy = false;
      root.dataset.phase = "idle";
      find(".rd-bench-stop").disabled = true;
      say(said, 0);
      if (run.shown) show(run.shown);
    }

    function say(said, part) {
      find(".rd-bench-actions p").textContent = said;
      find(".rd-bench-actions .rd-bar i").style.width = `${100 * part}%`;
    }

    find(".rd-bench-paint").addEventListener("click", () => { state.words = ""; paint(); });
    find(".rd-bench-prompt")?.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      state.words = "";
      paint();
    });
    find(".rd-bench-stop").addEventListener("click", () => {
      if (!run.busy) return;
      run.ticket += 1;
      trigger("halt", { ticket: run.ticket });
      due(true);
      rest(run.shown ? "Stopped. The picture on show is the last that was painted." : "Stopped.");
    });
    find(".rd-bench-download").addEventListener("click", () => RudderDownload.save(run.shown.after.src, run.shown.after.file));
    find(".rd-bench-compare")?.addEventListener("click", () => {
      state.words = find(".rd-bench-asked").value.trim();
      if (!state.words) {
        Rudder.notify({ text: "There are no words yet: write the whole prompt, with the change asked for in it.", kind: "error" });
        find(".rd-bench-asked").focus();
        return;
      }
      paint();
    });
    /* A first guess at the words: the concept's own, joined to the prompt. */
    find(".rd-bench-words")?.addEventListener("toggle", () => {
      const box = find(".rd-bench-asked");
      if (!find(".rd-bench-words").open || box.value) return;
      const first = terms.told().find((term) => term.strength > 0 && term.operator !== "erase");
      const words = concepts.find((one) => one.name === first?.name)?.words || "";
      const prompt = (state.recipe.prompt || "").trim();
      if (words) box.value = /^an? /.test(words) && prompt ? `${words} of ${prompt}` : `${prompt} ${words}`.trim();
    });

    /* A finished picture: both sides, what moved, both readings, what words made of it. */
    function show(message) {
      const { before, after, own } = message;
      const prompt = message.recipe?.prompt || "no prompt";
      canvas.empty("");
      canvas.show("before", before.src, `Before: unsteered, ${prompt}`);
      canvas.show("after", after.src, `After: steered, ${prompt}`);
      const moved = find(".rd-bench-moved");
      moved.textContent = Number.isFinite(after.moved) ? `moved ${after.moved.toFixed(1)} of 255 grey levels` : "";
      find(".rd-bench-download").disabled = !after.file;
      cards.before.show("Before: is it memorised?", before.reading);
      cards.after.show("After: is it memorised?", after.reading);
      if (own) {
        if (owns[state.own]) owns[state.own].said = own;
        owned(undefined, own);
      }
      const box = find(".rd-bench-rivals");
      box?.replaceChildren(...(message.rivals || []).map((one) => {
        const figure = document.createElement("figure");
        const image = Object.assign(new Image(), { src: one.src, alt: `${one.title}: ${state.words}` });
        image.onload = () => image.classList.toggle("is-small", image.naturalWidth <= 160);
        const head = Object.assign(document.createElement("b"), { textContent: one.title });
        const caption = document.createElement("figcaption");
        const save = Object.assign(document.createElement("button"), { type: "button", className: "rd-button is-quiet rd-rival-save", textContent: "Download" });
        save.setAttribute("aria-label", `Download: ${one.title}`);
        save.addEventListener("click", () => RudderDownload.save(one.src, one.file));
        caption.append(head, ` ${one.sentence}`, save);
        figure.append(image, caption);
        figure.dataset.way = one.way;
        return figure;
      }));
      if (message.rivals) find(".rd-bench-words").open = true;
    }

    function apply(message) {
      if (!message?.kind) return;
      if (message.concepts) { concepts = message.concepts; terms.concepts(concepts); full(); }
      if (message.kind === "first" || message.kind === "state") {
        restore(message.state);
        needs(message.needs || "");
        due(message.kind === "state");
      }
      if (message.kind === "first") {
        if (message.before) { run.shown = message; show(message); } else canvas.empty("Nothing is painted yet: press Paint.");
      }
      if (message.kind === "state") {
        find(".rd-bench-actions p").textContent = message.needs ? "" : "Everything is back.";
        Rudder.quiet();
        if (!message.needs) paint();
      }
      if (message.kind === "own") {
        const other = state.recipe.picture && !message.marks.includes(state.recipe.picture);
        if (!state.recipe.picture) fresh();
        state.own = message.own;
        run.marks = message.marks;
        owns[message.own] = { src: message.src, said: message.reading?.sentence || "", marks: message.marks };
        owned(message.src, message.reading?.sentence || "");
        needs(other ? message.other : "");
        paint();
      }
      if (message.kind === "run" && message.ticket === run.ticket && run.busy) ran(message);
    }

    function ran(message) {
      if (message.phase === "failed") { due(true); rest(""); return; }
      if (message.phase === "done") { run.shown = message; rest(message.text || ""); RudderLink.done("compose"); return; }
      for (const [which, source] of Object.entries(message.previews || {})) {
        canvas.empty("");
        canvas.show(which, source, `${which}, on its way`);
        if (which === "before" && !message.before) canvas.show("after", source, "after, on its way");
      }
      if (message.after) { run.shown = message; show(message); }
      else if (message.before) canvas.show("before", message.before.src, "Before: unsteered");
      say(message.text, message.part);
    }

    Rudder.watchDrops(canvas.figure, about.inverts ? "#rd-compose-own" : "#rd-compose-open");
    Rudder.watchDrops(find(".rd-bench-start"), "#rd-compose-open");
    bench = { lost: () => { if (run.busy) rest(""); } };
    root.dataset.phase = "idle";
    apply(props.value);
    RudderLink.speaks("compose", values(), { lacks, restore: ([told, own]) => {
      restore({ ...JSON.parse(told), own });
      root.classList.toggle("is-due", true);
    } });
    find(".rd-copy").addEventListener("click", () => RudderLink.copy());
    document.addEventListener("rudder-renamed", ({ detail: { old, name } }) => {
      terms.renamed(old, name);
      RudderLink.changed("compose", values());
    });
    watch("value", () => apply(props.value));
    root.dataset.ready = "yes";
  }

  return { mount, lost: () => bench?.lost() };
})();

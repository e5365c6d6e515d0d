/* The stage: columns of unsteered beside steered, frames kept in the browser, requests with tickets. */
window.RudderStage = (() => {
  const canvasSize = 512;

  const picture = (id, which) => `
    <figure class="rd-picture">
      <div class="rd-frame"><canvas width="${canvasSize}" height="${canvasSize}" role="img"
        data-picture="${id}-${which}" aria-label="${which} picture"></canvas></div>
      <figcaption><span>${which}</span><b></b></figcaption>
    </figure>`;

  const column = (id) => `
    <article class="rd-col is-${id}" data-column="${id}">
      <header><span class="rd-tag"></span><p class="rd-prompt"></p></header>
      <div class="rd-pair">${picture(id, "unsteered")}${picture(id, "steered")}</div>
      <footer><span class="rd-moved"></span><a class="rd-download" role="button">Download</a></footer>
      <div class="rd-helm is-own" data-helm="${id}" hidden></div>
    </article>`;

  const skeleton = `
    <div class="rd-cols">${column("a")}${column("b")}</div>
    <div class="rd-bridge">
      <div class="rd-helm" data-helm="both"></div>
      <div class="rd-status">
        <p role="status" aria-live="polite"></p>
        <label class="rd-link"><input type="checkbox" checked> One slider for both</label>
        <button type="button" class="rd-stop" disabled>Stop</button>
        <i class="rd-bar"><i></i></i>
      </div>
    </div>
    <div class="rd-readings">
      <section class="rd-reading is-a" data-reading="a" hidden></section>
      <section class="rd-reading is-b" data-reading="b" hidden></section>
    </div>`;

  const near = (one, other) => Math.abs(one - other) < 1e-6;

  function load(frame) {
    if (!frame.image) {
      frame.image = new Image();
      frame.ready = new Promise((done) => { frame.image.onload = frame.image.onerror = done; });
      frame.image.src = frame.src;
    }
    return frame;
  }

  function draw(canvas, image) {
    const brush = canvas.getContext("2d");
    brush.imageSmoothingEnabled = image.naturalWidth > canvasSize;
    brush.clearRect(0, 0, canvasSize, canvasSize);
    brush.drawImage(image, 0, 0, canvasSize, canvasSize);
  }

  function nearest(frames, strength) {
    return frames.reduce((best, frame) =>
      (Math.abs(frame.strength - strength) < Math.abs(best.strength - strength) ? frame : best));
  }

  function mount({ element, props, trigger, watch }) {
    const root = element.querySelector(".rd-stage");
    root.innerHTML = skeleton;
    const find = (selector) => root.querySelector(selector);
    const columns = {};
    const state = { ticket: 0, busy: null, linked: true, concept: null };

    for (const id of ["a", "b"]) {
      const node = find(`[data-column=${id}]`);
      columns[id] = {
        id, node, data: null, strength: 0,
        unsteered: node.querySelector("[data-picture$='-unsteered']"),
        steered: node.querySelector("[data-picture$='-steered']"),
        reading: RudderReading.card(find(`[data-reading=${id}]`), () => trigger("profile",
          { ticket: state.ticket, column: id, recipe: columns[id].data.recipe })),
      };
    }
    const shown = () => Object.values(columns).filter((one) => one.data);

    const helms = { both: helm("both", "Strength", ["a", "b"]), a: helm("a", "Strength", ["a"]),
      b: helm("b", "Strength", ["b"]) };

    function helm(name, label, ids) {
      return RudderHelm.build(find(`[data-helm=${name}]`), label, {
        onMove: (value) => { for (const id of ids) move(columns[id], value); },
        onRelease: (value) => release(ids, value),
      });
    }

    /* Dragging: the nearest frame at hand, no request. It outdates the exact strength being computed. */
    function move(one, strength) {
      if (!one.data || !Number.isFinite(strength)) return;
      if (state.busy === "release") {
        state.ticket += 1;
        trigger("stop", { ticket: state.ticket });
        settle();
      }
      one.strength = strength;
      show(one, nearest(one.data.frames, strength));
    }

    function show(one, frame) {
      one.frame = load(frame);
      frame.ready.then(() => { if (one.frame === frame) draw(one.steered, frame.image); });
      one.steered.dataset.strength = frame.strength;
      one.steered.setAttribute("aria-label", `${one.data.title}, steered by ${Rudder.signed(frame.strength)}: `
        + `${one.data.prompt || "no prompt"}`);
      one.steered.closest("figure").querySelector("b").textContent = Rudder.signed(frame.strength);
      const moved = one.node.querySelector(".rd-moved");
      moved.replaceChildren("moved ", Object.assign(document.createElement("b"),
        { textContent: frame.moved.toFixed(1) }), " of 255 grey levels");
      const link = one.node.querySelector(".rd-download");
      link.classList.toggle("is-off", !frame.file);
      if (frame.file) { link.href = frame.src; link.download = frame.file; } else link.removeAttribute("href");
    }

    function showUnsteered(one) {
      const frame = load(one.data.unsteered);
      frame.ready.then(() => draw(one.unsteered, frame.image));
      one.unsteered.setAttribute("aria-label", `${one.data.title}, unsteered: ${one.data.prompt || "no prompt"}`);
    }

    /* Releasing: the exact strength from the server, unless this very frame is at hand. */
    function release(ids, strength) {
      const wanted = ids.map((id) => columns[id]).filter((one) => one.data);
      if (state.busy === "generate") { state.wish = { ids, strength }; return; }  // asked for once it is there
      const missing = wanted.filter((one) => !(one.frame && near(one.frame.strength, strength) && one.frame.exact));
      if (!missing.length) { if (state.busy === "release") settle(); return; }
      const asked = {};
      for (const one of missing) asked[one.id] = { recipe: one.data.recipe, strength };
      trigger("release", { ticket: begin("release", `Computing ${typeof strength === "number"
        ? Rudder.signed(strength) : "…"} exactly`), columns: asked });
    }

    /* Generating: a strip per column. The concept on show says whether the slider's strength still means anything. */
    function generate(restored) {
      Rudder.due(false);
      const strengths = Object.fromEntries(Object.values(columns).map((one) => [one.id, one.strength]));
      if (restored) strengths.a = strengths.b = restored.strength;
      const concept = restored ? restored.concept : state.concept;
      trigger("generate", { ticket: begin("generate", "Generating"), strengths, concept });
    }

    function begin(busy, text) {
      state.ticket += 1;
      state.busy = busy;
      state.wish = null;
      Rudder.quiet();
      root.dataset.phase = "running";
      root.dataset.busy = busy;
      root.dataset.run = state.ticket;  // a run too short to be caught running is still seen to have begun
      find(".rd-stop").disabled = false;
      document.querySelector(".rd-actions")?.classList.add("is-running");
      say(text, 0);
      return state.ticket;
    }

    function settle(text = "") {
      state.busy = null;
      root.dataset.phase = "idle";
      delete root.dataset.busy;
      find(".rd-stop").disabled = true;
      document.querySelector(".rd-actions")?.classList.remove("is-running");
      say(text, 0);
      for (const one of shown()) { if (one.frame) show(one, one.frame); showUnsteered(one); }
    }

    function stop() {
      if (!state.busy) return;
      state.ticket += 1;
      trigger("stop", { ticket: state.ticket });
      settle("Stopped. Pictures as before.");
    }

    function say(text, part) {
      find(".rd-status p").textContent = text;
      find(".rd-bar i").style.width = `${100 * part}%`;
    }

    /* Messages carry the ticket they answer; an older ticket never draws over a newer one. */
    function apply(message) {
      if (!message || message.ticket < state.ticket) return;
      for (const [id, data] of Object.entries(message.columns || {})) {
        if (data && data.frames) adopt(columns[id], data, message);
        if (data && data.frame) addExact(columns[id], data.frame);
        if (data && data.profile) columns[id].reading.profile(data.profile);
        if (data && data.preview && message.phase === "running") preview(columns[id], data.preview);
      }
      if (message.kind === "strip" && message.phase === "done") {
        for (const one of Object.values(columns)) {
          if (!message.columns[one.id]) { one.data = null; one.node.hidden = true; one.reading.show("", null); }
        }
        state.concept = message.concept;
        layout();
      }
      if (message.phase === "running" && state.busy) say(message.text, message.done / message.total);
      if (message.phase === "done") settle(message.text);
      if (message.phase === "failed") settle("");
      if (message.kind === "strip" && message.phase === "done") fulfil();
    }

    /* A slider moved while its strip was painted says what to show of the new one, where that still fits. */
    function fulfil() {
      const wish = state.wish;
      state.wish = null;
      if (!wish || !Number.isFinite(wish.strength)) return;
      const on = wish.ids.map((id) => columns[id]).filter((one) => one.data);
      if (on.some((one) => wish.strength < one.data.range[0] || wish.strength > one.data.range[1])) return;
      for (const one of on) move(one, wish.strength);
      for (const name of ["both", ...wish.ids]) helms[name].set(wish.strength);
      release(wish.ids, wish.strength);
    }

    /* The server never took the request (too many in the queue, a value out of bounds): at rest again. */
    function lost() {
      if (state.busy) settle("");
    }

    function adopt(one, data, message) {
      if (one.adopted === message.ticket) return;
      one.adopted = message.ticket;
      one.data = { ...data, frames: data.frames.map((frame) => ({ ...frame })) };
      one.data.unsteered = one.data.frames.find((frame) => near(frame.strength, 0));
      one.data.range = message.range;
      one.data.strip = message.strip;
      one.node.hidden = false;
      one.node.querySelector(".rd-tag").textContent = data.title;
      const prompt = one.node.querySelector(".rd-prompt");
      prompt.textContent = data.prompt || "no prompt: whatever the model likes";
      prompt.title = data.prompt;
      one.data.frames.forEach(load);
      one.reading.show(`${data.title}: is it memorised?`, data.reading, data.response);
      one.strength = data.strength;
      showUnsteered(one);
      show(one, nearest(one.data.frames, one.strength));
    }

    function addExact(one, frame) {
      if (!one.data || one.data.frames.some((had) => had.exact && near(had.strength, frame.strength))) return;
      one.data.frames.push({ ...frame });
      one.data.frames.sort((left, right) => left.strength - right.strength);
      one.strength = frame.strength;
      show(one, nearest(one.data.frames, frame.strength));
      curves();
    }

    function preview(one, source) {
      const frame = load({ src: source });
      frame.ready.then(() => { if (state.busy) draw(one.steered, frame.image); });
    }

    function layout() {
      const on = shown();
      root.classList.toggle("is-single", on.length < 2);
      for (const one of on) {
        for (const name of ["both", one.id]) {
          helms[name].setRange(...one.data.range);
          helms[name].set(one.strength);
        }
      }
      curves();
    }

    function curves() {
      const line = (one) => ({ id: one.id, title: one.data.title,
        points: one.data.frames.map((frame) => [frame.strength, frame.moved]) });
      const strip = (one) => one.data.strip;
      const on = shown();
      if (!on.length) return;
      helms.both.curve(on.map(line), strip(on[0]));
      for (const one of on) helms[one.id].curve([line(one)], strip(one));
    }

    find(".rd-stop").addEventListener("click", stop);
    find(".rd-link input").addEventListener("change", (event) => {
      state.linked = event.target.checked;
      find("[data-helm=both]").hidden = !state.linked;
      for (const id of ["a", "b"]) find(`[data-helm=${id}]`).hidden = state.linked;
      if (!state.linked) { for (const one of shown()) helms[one.id].set(one.strength); return; }
      const value = columns.a.strength;
      helms.both.set(value);
      for (const one of shown()) move(one, value);
      release(["a", "b"], value);
    });

    root.dataset.phase = "idle";
    Rudder.attach({ generate, stop, lost });
    Rudder.watchDrops(root, "#rd-open");
    Rudder.watchDrops(root.querySelector(".rd-readings"), "#rd-score");
    apply(props.value);
    watch("value", () => apply(props.value));
    root.dataset.ready = "yes";
  }

  return { mount };
})();

/* The stage: columns of unsteered beside steered, frames kept in the browser, requests with tickets.

   A column's title, prompt, pictures and reading change together, whatever is running. */
window.RudderStage = (() => {
  const canvasSize = 512;

  const picture = (id, which) => `
    <figure class="rd-picture">
      <button type="button" class="rd-frame" title="Show it large"><canvas width="${canvasSize}" height="${canvasSize}"
        role="img" data-picture="${id}-${which}" aria-label="${which} picture"></canvas></button>
      <figcaption><span>${which}</span><b></b></figcaption>
    </figure>`;

  const column = (id) => `
    <article class="rd-col is-${id}" data-column="${id}">
      <header><span class="rd-tag"></span><p class="rd-prompt"></p></header>
      <div class="rd-pair">${picture(id, "unsteered")}${picture(id, "steered")}</div>
      <footer><span class="rd-moved"></span><span><button type="button"
        class="rd-copy">Copy link</button> <button type="button" class="rd-download">Download</button></span></footer>
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

  /* An image over a whole canvas; with `part`, so much of it over what is there. */
  function draw(canvas, image, part = 1) {
    const brush = canvas.getContext("2d");
    brush.imageSmoothingEnabled = image.naturalWidth > canvasSize;
    if (part === 1) brush.clearRect(0, 0, canvasSize, canvasSize);
    brush.globalAlpha = part;
    brush.drawImage(image, 0, 0, canvasSize, canvasSize);
    brush.globalAlpha = 1;
  }

  /* What is at hand for a strength: its own frame, or the cross-fade of its two neighbours. */
  function between(frames, strength) {
    const after = frames.findIndex((frame) => frame.strength >= strength - 1e-6);
    if (after < 0) return frames[frames.length - 1];
    const [left, right] = [frames[after - 1], frames[after]];
    if (!left || near(right.strength, strength)) return right;
    const part = (strength - left.strength) / (right.strength - left.strength);
    return { strength, fade: [left, right, part], moved: left.moved + part * (right.moved - left.moved), file: "" };
  }

  function mount({ element, props, trigger, watch }) {
    const root = element.querySelector(".rd-stage");
    root.innerHTML = skeleton;
    const find = (selector) => root.querySelector(selector);
    const columns = {};
    const state = { ticket: 0, busy: null, linked: true, concept: null, stopped: false };

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
    const whole = (one) => one.data.strip.every((at) => one.data.frames.some((had) => near(had.strength, at)));

    const helms = { both: helm("both", "Strength", ["a", "b"]), a: helm("a", "Strength, first picture", ["a"]),
      b: helm("b", "Strength, second picture", ["b"]) };

    function helm(name, label, ids) {
      return RudderHelm.build(find(`[data-helm=${name}]`), label, {
        onMove: (value) => { for (const id of ids) move(columns[id], value); },
        onRelease: (value) => release(ids, value),
      });
    }

    /* Dragging: frames at hand and cross-fades between them, no request. It outdates an exact strength being computed,
       not a strip being filled. */
    function move(one, strength) {
      if (!one.data || !Number.isFinite(strength)) return;
      if (state.busy === "release") {
        state.ticket += 1;
        trigger("stop", { ticket: state.ticket });
        settle();
      }
      one.strength = strength;
      show(one, between(one.data.frames, strength));
      if (one.frame.fade && !state.busy) {
        say("Dragging cross-fades between painted strengths; letting go shows the exact picture.", 0);
      }
    }

    function show(one, frame) {
      one.frame = frame;
      paint(one.steered, frame, () => one.frame === frame && state.busy !== "generate");
      if (state.busy === "generate") return;
      one.steered.dataset.strength = frame.strength;
      one.steered.dataset.fade = frame.fade ? "yes" : "no";
      one.steered.setAttribute("aria-label", `${one.data.title}, steered by ${Rudder.signed(frame.strength)}: `
        + `${one.data.prompt || "no prompt"}`);
      const caption = one.steered.closest("figure");
      caption.querySelector("span").textContent = frame.fade ? "cross-faded" : "steered";
      caption.querySelector("b").textContent = Rudder.signed(frame.strength);
      const moved = one.node.querySelector(".rd-moved");
      const tag = (name, textContent) => Object.assign(document.createElement(name), { textContent });
      moved.replaceChildren("moved ", tag("b", frame.moved.toFixed(1)), tag("i", " of 255"), " grey levels");
      one.node.querySelector(".rd-download").disabled = !frame.file;
    }

    /* Draw a frame, or the fade of two, once it is decoded and still wanted. */
    function paint(canvas, frame, wanted) {
      const [left, right, part] = frame.fade || [frame, frame, 0];
      load(left);
      load(right);
      Promise.all([left.ready, right.ready]).then(() => {
        if (!wanted()) return;
        draw(canvas, left.image);
        if (frame.fade) draw(canvas, right.image, part);
      });
    }

    function showUnsteered(one) {
      const frame = one.data.unsteered;
      paint(one.unsteered, frame, () => one.data.unsteered === frame && state.busy !== "generate");
      one.unsteered.setAttribute("aria-label", `${one.data.title}, unsteered: ${one.data.prompt || "no prompt"}`);
    }

    function head(one, { title, prompt }) {
      one.node.querySelector(".rd-tag").textContent = title;
      const words = one.node.querySelector(".rd-prompt");
      words.textContent = prompt || "no prompt: whatever the model likes";
      words.title = prompt;
    }

    /* Releasing: the exact strength from the server, unless this very frame is at hand; what the strips lack follows. */
    function release(ids, strength) {
      const wanted = ids.map((id) => columns[id]).filter((one) => one.data);
      if (Number.isFinite(strength)) Rudder.steered(steering(), true);
      if (state.busy === "generate") { state.wish = { ids, strength }; return; }  // asked for once it is there
      const missing = wanted.filter((one) => !(one.frame && near(one.frame.strength, strength) && one.frame.exact));
      const lacking = state.stopped ? [] : shown().filter((one) => !whole(one));
      if (!missing.length && (state.busy === "fill" || !lacking.length)) {
        if (state.busy === "release") settle();
        return;
      }
      const asked = {};
      for (const one of lacking) asked[one.id] = { recipe: one.data.recipe, strength: one.strength, fill: true };
      for (const one of missing) asked[one.id] = { recipe: one.data.recipe, strength, fill: lacking.includes(one) };
      trigger("release", { ticket: begin("release", `Computing ${typeof strength === "number"
        ? Rudder.signed(strength) : "…"} exactly`), columns: asked });
    }

    /* Generating: a strip per column. The concept on show says whether the slider's strength still means anything. */
    function generate(restored) {
      Rudder.due(false);
      state.stopped = false;
      const strengths = Object.fromEntries(Object.values(columns).map((one) => [one.id, one.strength]));
      if (restored) Object.assign(strengths, restored.strengths ?? { a: restored.strength, b: restored.strength });
      const concept = restored ? restored.concept : state.concept;
      trigger("generate", { ticket: begin("generate", "Generating"), strengths, concept });
      Rudder.generated();
      const { top } = find(".rd-cols").getBoundingClientRect();
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      if (top < 0 || top > innerHeight / 2) root.scrollIntoView({ block: "start", behavior: calm ? "auto" : "smooth" });
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
      for (const one of Object.values(columns)) {
        one.node.hidden = !one.data;
        one.reading.stale(false);
        if (!one.data) continue;
        head(one, one.data);
        showUnsteered(one);
        if (one.frame) show(one, one.frame);
      }
    }

    function stop() {
      if (!state.busy) return;
      const there = state.busy === "fill";
      if (state.busy === "generate") Rudder.ungenerated();
      state.ticket += 1;
      state.stopped = true;
      trigger("stop", { ticket: state.ticket });
      settle(there ? "Stopped: these pictures are exact, their strips stay coarse." : "Stopped. Pictures as before.");
    }

    /* What was asked for is there; what follows fills the strips and may be outdated by anything newer. */
    function fill(text, part) {
      state.busy = root.dataset.busy = "fill";
      root.dataset.exact = state.ticket;
      say(text, part);
    }

    function say(text, part) {
      find(".rd-status p").textContent = text;
      find(".rd-bar i").style.width = `${100 * part}%`;
    }

    /* Messages carry the ticket they answer; an older ticket never draws over a newer one. They say all that is known
       so far, and may come twice. */
    function apply(message) {
      if (!message || message.ticket < (message.kind === "profile" ? state.adopted ?? 0 : state.ticket)) return;
      const running = message.phase === "running";
      const fresh = message.kind === "strip" && Object.values(message.columns).some((data) => data.frames)
        && state.adopted !== message.ticket;
      if (fresh && state.busy) fill(message.text, message.part);
      if (fresh) adopt(message);
      for (const [id, data] of Object.entries(message.columns || {})) {
        const one = columns[id];
        if (data.frame) addExact(one, data.frame);
        if (data.frames && one.data) extend(one, data);
        if (data.profile) one.reading.profile(data.profile);
        if (data.preview && running && !data.frames) draft(one, data, message.ticket);
      }
      const asked = Object.values(message.columns || {});
      if (running && state.busy === "release" && asked.length && asked.every((data) => data.frame)) {
        fill(message.text, message.part);
      }
      if (running && state.busy) say(message.text, message.part);
      if (message.phase === "done") { root.dataset.exact = state.ticket; settle(message.text); }
      if (message.phase === "failed") {
        if (state.busy === "generate") Rudder.ungenerated();
        settle("");
      }
      if (fresh) fulfil();
    }

    /* The exact pictures of a Generate: every column of the stage is its own from here on. */
    function adopt(message) {
      state.adopted = message.ticket;
      state.concept = message.concept;
      for (const one of Object.values(columns)) {
        const data = message.columns[one.id];
        one.node.hidden = !data;
        one.node.classList.remove("is-draft");
        one.reading.stale(false);
        if (!data) { one.data = null; one.reading.show("", null); continue; }
        one.data = { ...data, frames: data.frames.map((frame) => ({ ...frame })) };
        one.data.frames.sort((left, right) => left.strength - right.strength);
        one.data.unsteered = one.data.frames.find((frame) => near(frame.strength, 0));
        Object.assign(one.data, { range: message.range, strip: message.strip, ticks: message.ticks });
        head(one, data);
        read(one);
        one.strength = data.strength;
        showUnsteered(one);
        show(one, between(one.data.frames, one.strength));
      }
      layout();
      Rudder.steered(steering(), false);
    }

    const steering = () => Object.fromEntries(shown().map((one) => [one.id, one.strength]));

    /* Sliders set from outside, as if each had been dragged there and let go. */
    function steer(strengths) {
      const wanted = shown().filter((one) => Number.isFinite(strengths[one.id]) && !near(one.strength, strengths[one.id]));
      for (const one of wanted) {
        move(one, strengths[one.id]);
        for (const name of [one.id, "both"]) helms[name].set(strengths[one.id]);
      }
      for (const value of new Set(wanted.map((one) => strengths[one.id]))) {
        release(wanted.filter((one) => strengths[one.id] === value).map((one) => one.id), value);
      }
    }

    const read = (one) => one.reading.show(`${one.data.title}: is it memorised?`, one.data.reading, one.data.response);

    /* More frames of a strip, and in the end its answer; what is on show stays, unless it is a fade that can be better. */
    function extend(one, data) {
      const more = data.frames.filter((frame) => !one.data.frames.some((had) => near(had.strength, frame.strength)));
      if (more.length) {
        for (const frame of more) one.data.frames.push(load({ ...frame }));
        one.data.frames.sort((left, right) => left.strength - right.strength);
        if (!near(one.frame.strength, one.strength) || one.frame.fade) show(one, between(one.data.frames, one.strength));
        curves();
      }
      if (data.response !== undefined && one.data.response === undefined) {
        one.data.response = data.response;
        read(one);
      }
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
      if (state.busy === "generate") Rudder.ungenerated();
      if (state.busy) settle("");
    }

    function addExact(one, frame) {
      if (!one.data) return;
      const had = one.data.frames.findIndex((known) => near(known.strength, frame.strength));
      if (had >= 0 && one.data.frames[had].exact) return;
      one.data.frames.splice(had < 0 ? one.data.frames.length : had, had < 0 ? 0 : 1, { ...frame });
      one.data.frames.sort((left, right) => left.strength - right.strength);
      one.strength = frame.strength;
      show(one, between(one.data.frames, frame.strength));
      curves();
    }

    /* Pictures on their way. Of a Generate both of a column come with their title and prompt; of a release only the
       steered one, since nothing else changes. */
    function draft(one, data, ticket) {
      const steered = load({ src: data.preview });
      const plain = data.plain ? load({ src: data.plain }) : null;
      Promise.all([steered.ready, plain?.ready]).then(() => {
        if (state.ticket !== ticket || !["generate", "release"].includes(state.busy)) return;
        if (state.busy === "generate") {
          if (!plain) return;
          one.node.hidden = false;
          one.reading.stale(true);
          head(one, data);
          draw(one.unsteered, plain.image);
        }
        draw(one.steered, steered.image);
      });
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
      const axis = (one) => [one.data.strip, one.data.ticks];
      const on = shown();
      if (!on.length) return;
      helms.both.curve(on.map(line), ...axis(on[0]));
      for (const one of on) helms[one.id].curve([line(one)], ...axis(one));
    }

    for (const one of Object.values(columns)) {
      for (const canvas of [one.unsteered, one.steered]) {
        canvas.closest("button").addEventListener("click", () => RudderLarge.open(canvas,
          `${canvas.closest("figure").querySelector("figcaption").textContent}: ${one.node.querySelector(".rd-prompt")
            .textContent}`));
      }
      one.node.querySelector(".rd-copy").hidden = !window.RudderLink;  // the door has none yet
      one.node.querySelector(".rd-copy").addEventListener("click", () => RudderLink.copy());
      one.node.querySelector(".rd-download").addEventListener("click",
        () => RudderDownload.save(one.frame.src, one.frame.file));
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
    Rudder.attach({ generate, stop, lost, steer });
    /* A concept got another name: the pictures on show go on with it. */
    document.addEventListener("rudder-renamed", ({ detail: { old, name } }) => {
      const to = (one) => (one === old ? name : one);
      if (state.concept) state.concept = to(state.concept);
      for (const { data } of Object.values(columns)) {
        if (data) data.recipe = { ...data.recipe, concepts: data.recipe.concepts.map(([one, strength]) => [to(one), strength]) };
      }
    });
    Rudder.watchDrops(root, "#rd-open");
    Rudder.watchDrops(root.querySelector(".rd-readings"), "#rd-score");
    apply(props.value);
    watch("value", () => apply(props.value));
    root.dataset.ready = "yes";
  }

  return { mount };
})();

/* The Grid tab: a table of pictures that fills while they are painted, each a way on, and all of it to take away. */
window.RudderGrid = (() => {
  const LOOK = 400;  // milliseconds that the controls rest before the server is asked how long a grid takes
  const SMALL = 320; // px that a small picture's side has as it is shown at most
  let board = null;

  const skeleton = `
    <div class="rd-grid-bar">
      <button type="button" class="rd-grid-paint">Paint the grid</button>
      <button type="button" class="rd-grid-stop" hidden>Stop</button>
      <p class="rd-grid-status" role="status"></p>
      <button type="button" class="rd-undo" data-part="grid" aria-label="Undo" title="Undo (Ctrl+Z)" disabled></button>
      <button type="button" class="rd-redo" data-part="grid" aria-label="Redo" title="Redo (Ctrl+Y)" disabled></button>
      <i class="rd-bar"><i></i></i>
    </div>
    <div class="rd-grid-room" hidden>
      <div class="rd-grid-scroll" tabindex="0" role="group" aria-label="The pictures"><table><caption class="rd-sr"></caption>
        <thead></thead><tbody></tbody></table></div>
      <p class="rd-grid-legend"></p>
    </div>
    <div class="rd-grid-files"><span class="rd-grid-take" hidden></span><button type="button" class="rd-grid-copy">Copy
      link</button></div>`;

  function make(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  const signed = (value) => (value === 0 ? "0" : Rudder.signed(value, Number.isInteger(value) ? 0 : 2));

  function mount({ element, props, trigger, watch }) {
    const root = element.querySelector(".rd-grid");
    root.innerHTML = skeleton;
    const find = (selector) => root.querySelector(selector);
    const { files, video } = props;
    const state = { ticket: 0, busy: false, plan: "", cells: {}, scored: false };

    function paint() {
      state.ticket += 1;
      Rudder.quiet();
      run(true);
      root.dataset.run = state.ticket;
      say("Waiting for its turn", 0);
      trigger("paint", { ticket: state.ticket });
    }

    function stop() {
      if (!state.busy) return;
      state.ticket += 1;
      trigger("stop", { ticket: state.ticket });
      rest(`Stopped: ${Object.keys(state.cells).length} pictures are painted and stay.`);
    }

    function run(is) {
      state.busy = is;
      root.dataset.phase = is ? "running" : "idle";
      find(".rd-grid-stop").hidden = !is;
      if (is) find(".rd-grid-take").hidden = true;
    }

    function rest(text) {
      run(false);
      say(text, 0);
      const columns = state.head?.across.length || 0;
      const whole = (row) => columns && state.head.across.every((_, column) => state.cells[`${row},${column}`]);
      find(".rd-grid-take").hidden = !state.head?.down.some((_, row) => whole(row));
    }

    function say(text, part) {
      find(".rd-grid-status").textContent = text;
      find(".rd-bar i").style.width = `${100 * part}%`;
    }

    /* Messages say all that is known so far, and may come twice; one with an older ticket is of a run that is over. */
    function apply(message) {
      if (!message?.ticket || message.ticket < state.ticket) return;
      if (message.phase === "failed") { rest(""); return; }
      if (message.across) fill(message);
      if (message.phase === "running") say(message.text, message.part);
      else rest(`${message.text}, done`);
    }

    function fill(message) {
      const plan = JSON.stringify([message.ticket, message.across, message.down]);
      if (plan !== state.plan) {
        Object.assign(state, { plan, cells: {}, scored: false, head: message });
        lay(message);
      }
      for (const cell of message.cells) {
        const place = `${cell.row},${cell.column}`;
        if (state.cells[place]) continue;
        state.cells[place] = cell;
        state.scored ||= cell.spikiness !== null;
        show(root.querySelector(`[data-place="${place}"]`), cell, message);
      }
      find(".rd-grid-legend").textContent = `Below each: its distance from the unsteered picture (RMS, of 0 to 1)`
        + `${state.scored ? ", and s, its spikiness" : ""}. Click a picture to go on from it.`;
    }

    function lay({ axis, across, down }) {
      find(".rd-grid-room").hidden = false;
      const head = make("tr");
      head.append(make("th", "rd-grid-corner", "strength"));
      for (const value of across) { const th = make("th", "", signed(value)); th.scope = "col"; head.append(th); }
      find("thead").replaceChildren(head);
      find("caption").textContent = `Strength across, ${axis} down`;
      find("tbody").replaceChildren(...down.map((label, row) => {
        const line = make("tr"), th = make("th");
        th.scope = "row";
        th.append(make("span", "", axis === "seed" ? `seed ${label}` : label));
        line.append(th, ...across.map((_, column) => {
          const cell = make("td");
          cell.dataset.place = `${row},${column}`;
          cell.append(make("div", "rd-grid-empty"));
          return cell;
        }));
        return line;
      }));
      find("table").style.setProperty("--columns", across.length);
    }

    function show(place, cell, { across, down }) {
      const button = make("button"), image = make("img"), words = make("span");
      button.type = "button";
      image.src = cell.src;
      const where = `${down[cell.row]}, strength ${signed(across[cell.column])}`;
      image.alt = where;
      image.addEventListener("load", () => image.classList.toggle("is-small", image.naturalWidth < SMALL));
      button.title = `Go on from ${where}`;
      words.append(make("b", "", cell.distance.toFixed(3)));
      if (cell.spikiness !== null) words.append(make("span", "", `s ${cell.spikiness.toFixed(3)}`));
      button.append(image, words);
      const marks = RudderMarks.of(cell.recipe.concepts.map(([name]) => name));  // as it is painted: names may change
      button.addEventListener("click", () => { stop(); RudderLink.go(cell.recipe, marks); });
      place.replaceChildren(button);
    }

    find(".rd-grid-paint").addEventListener("click", paint);
    find(".rd-grid-stop").addEventListener("click", stop);
    find(".rd-grid-copy").addEventListener("click", () => RudderLink.copy());
    for (const [kind, title] of Object.entries(files)) {
      const button = make("button", "", title);
      button.type = "button";
      button.dataset.kind = kind;
      button.addEventListener("click", () => {
        say(`Preparing ${title}`, 0);
        trigger("take", { kind });
      });
      find(".rd-grid-take").append(button);
    }
    if (!files.mp4) find(".rd-grid-take").append(make("small", "", `For MP4: pip install '${video}'`));

    /* The server says what a grid would take whenever the controls rest, as long as somebody looks. */
    let timer = null;
    const estimate = () => {
      clearTimeout(timer);
      timer = setTimeout(() => { if (root.offsetParent) trigger("estimate"); }, LOOK);
    };
    document.addEventListener("rudder-changed", estimate);
    new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) estimate(); }).observe(root);

    run(false);
    watch("value", () => apply(props.value));
    board = { lost: () => { if (state.busy) rest(""); }, saved: () => say("", 0) };
    root.dataset.ready = "yes";
  }

  function told({ element, props, watch }) {
    watch("value", () => {
      const { base = "", text = "", wrong = "" } = props.value || {};
      element.querySelector(".rd-grid-base").textContent = base;
      const line = element.querySelector(".rd-grid-told");
      line.textContent = wrong || text;
      line.classList.toggle("is-wrong", Boolean(wrong));
    });
  }

  /* The file is there: fetch it as if its own button had been pressed, which does nothing without one. */
  function save() {
    board?.saved();
    const node = document.querySelector("#rd-grid-file");
    setTimeout(() => (node?.matches("button, a") ? node : node?.querySelector("button, a"))?.click(), 120);
  }

  return { mount, told, save, lost: () => board?.lost() };
})();

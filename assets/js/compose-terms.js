/* The workbench's terms: a row a concept, with its strength, what is done with it, when, and where. */
window.RudderTerms = (() => {
  const operators = {
    add: ["Add", "The concept is added to the activations.", "h + s v"],
    norm: ["Add and keep the norm", "The concept is added, then every position gets back the length it had.", "(h + s v) |h| / |h + s v|"],
    erase: ["Erase", "What of the activations lies along the concept is taken away: at 1 nothing of it is left.", "h \u2212 s \u27e8h, u\u27e9 u,  u = v / |v|"],
  };
  const text = (value) => String(value).replace(/[&<>"]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign]);

  const skeleton = (concepts) => `
    <div class="rd-term-head">
      <label class="rd-term-concept"><span class="rd-sr">Concept</span>
        <select>${concepts.map((one) => `<option value="${text(one.name)}">${text(one.title)}</option>`).join("")}</select></label>
      <label class="rd-term-number"><span class="rd-sr">Exact strength</span><input type="number" step="any"></label>
      <button type="button" class="rd-term-remove" aria-label="Remove this concept" title="Remove">\u00d7</button>
    </div>
    <div class="rd-dial"><input type="range" aria-label="Strength"><i class="rd-zero" aria-hidden="true"></i></div>
    <p class="rd-dial-said"></p>
    <label class="rd-term-operator"><span class="rd-sr">What is done with it</span><select>
      ${Object.entries(operators).map(([key, [name]]) => `<option value="${key}">${name}</option>`).join("")}</select></label>
    <p class="rd-term-said"><span></span> <code></code></p>
    <details class="rd-term-more"><summary>When and where</summary><div>
      <fieldset class="rd-term-window"><legend>Steps, as shares of the run</legend>
        <label>from <input type="number" min="0" max="1" step="0.01"></label>
        <label>until <input type="number" min="0" max="1" step="0.01"></label></fieldset>
      <fieldset class="rd-term-sites"><legend>Sites</legend>
        <div class="rd-term-groups"></div><div class="rd-term-list"></div></fieldset>
    </div></details>`;

  /* One row. `term`: {name, strength, operator, window: {start, end}, sites}. */
  function row(term, about, concepts, changed, removed) {
    const node = document.createElement("article");
    node.className = "rd-term";
    node.innerHTML = skeleton(concepts);
    const find = (selector) => node.querySelector(selector);
    const [concept, operator] = [find(".rd-term-concept select"), find(".rd-term-operator select")];
    const [range, number] = [find(".rd-dial input"), find(".rd-term-number input")];
    const [start, end] = node.querySelectorAll(".rd-term-window input");
    const known = () => concepts.find((one) => one.name === term.name) || concepts[0];

    function ends() {
      const told = known();
      if (term.operator === "erase") return [0, 2];
      const far = 1.25 * Math.max(...told.range.map(Math.abs), Math.abs(told.strength), Math.abs(term.strength) / 1.25);
      return [-far, far];
    }

    function show() {
      const told = known();
      const [low, high] = ends();
      const share = (value) => Math.min(1, Math.max(0, (value - low) / (high - low || 1)));
      const [from, to] = term.operator === "erase" ? [0, 1] : [Math.min(...told.range), Math.max(...told.range)];
      concept.value = term.name;
      operator.value = term.operator;
      Object.assign(range, { min: low, max: high, step: (high - low) / 200 });
      range.value = term.strength;
      if (document.activeElement !== number) number.value = Number(term.strength.toFixed(2));
      const dial = find(".rd-dial");
      const put = (name, value) => dial.style.setProperty(name, value);
      put("--low", share(from));
      put("--high", share(to));
      put("--from", Math.min(share(0), share(term.strength)));
      put("--to", Math.max(share(0), share(term.strength)));
      put("--zero", share(0));
      range.setAttribute("aria-label", `Strength of ${told.title}`);
      range.setAttribute("aria-valuetext", `strength ${Rudder.signed(term.strength)}`);
      node.setAttribute("aria-label", `Term: ${told.title}`);
      const how = { takes: "measured to work best", works: "measured to work best", weak: "measured to take only a little", cannot: "measured not to take" };
      const usual = term.operator === "erase" ? "1 erases it whole"
        : `${how[told.state] || "not measured yet: start"} at ${Rudder.signed(told.strength)}; slide from ${Rudder.signed(from)} to ${Rudder.signed(to)}`;
      const away = term.operator !== "erase" && term.strength < 0 ? "; negative: away from it" : "";
      find(".rd-dial-said").textContent = `${usual}${away}`;
      const [, sentence, formula] = operators[term.operator];
      find(".rd-term-said span").textContent = sentence;
      find(".rd-term-said code").textContent = formula;
      [start.value, end.value] = [term.window.start, term.window.end];
      sites(told);
    }

    const chosen = (told) => term.sites || told.advised;

    function sites(told) {
      const on = chosen(told);
      const groups = about.groups.map((group) => ({ ...group, sites: group.sites.filter((site) => told.sites.includes(site)) }))
        .filter((group) => group.sites.length);
      const pick = (label, wanted, pressed) => {
        const button = Object.assign(document.createElement("button"), { type: "button", textContent: label, className: "rd-chip" });
        button.setAttribute("aria-pressed", String(pressed));
        button.addEventListener("click", () => {
          term.sites = wanted;
          update();
          [...find(".rd-term-groups").children].find((one) => one.textContent === label)?.focus();
        });
        return button;
      };
      const same = (some) => some.length === on.length && some.every((site) => on.includes(site));
      find(".rd-term-groups").replaceChildren(
        pick("where it works best", null, same(told.advised)),
        ...groups.map((group) => pick(group.name, group.sites, same(group.sites))),
        pick("everywhere", [...told.sites], same(told.sites) && !same(told.advised)));
      find(".rd-term-list").replaceChildren(...told.sites.map((site) => {
        const label = document.createElement("label");
        const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: on.includes(site) });
        box.addEventListener("change", () => {
          const next = told.sites.filter((one) => (one === site ? box.checked : on.includes(one)));
          term.sites = next.length ? next : null;
          update();
          [...find(".rd-term-list").children].find((one) => one.textContent === site)?.querySelector("input").focus();
        });
        label.append(box, site);
        return label;
      }));
    }

    function update() {
      show();
      changed();
    }

    concept.addEventListener("change", () => {
      const told = concepts.find((one) => one.name === concept.value);
      Object.assign(term, fresh(told), { operator: term.operator });
      if (term.operator === "erase") term.strength = 1;
      update();
    });
    operator.addEventListener("change", () => {
      const erased = term.operator === "erase";
      term.operator = operator.value;
      if (term.operator === "erase") term.strength = 1;
      else if (erased) term.strength = known().strength;
      update();
    });
    range.addEventListener("input", () => {
      term.strength = Math.abs(range.value) < Number(range.step) / 2 ? 0 : Number(Number(range.value).toFixed(3));
      update();
    });
    number.addEventListener("change", () => {
      if (number.value.trim() !== "" && Number.isFinite(Number(number.value))) term.strength = Number(number.value);
      update();
      number.value = term.strength;
    });
    for (const [input, key] of [[start, "start"], [end, "end"]]) {
      input.addEventListener("change", () => {
        if (input.value.trim() !== "") term.window = { ...term.window, [key]: Number(input.value) };
        update();
      });
    }
    find(".rd-term-remove").addEventListener("click", removed);
    show();
    return node;
  }

  /* A new term as its concept's vector advises. */
  const fresh = (told) => ({ name: told.name, strength: told.strength, operator: "add", sites: null,
    window: { start: told.window[0], end: told.window[1] } });

  /* A list of rows in `root`; `terms` is changed in place. */
  function build(root, about, changed) {
    let terms = [], concepts = [];

    function draw() {
      root.replaceChildren(...terms.map((term) => row(term, about, concepts, changed, () => {
        terms = terms.filter((one) => one !== term);
        draw();
        changed();
        document.querySelector(".rd-term-add")?.focus();
      })));
      if (!terms.length) {
        root.append(Object.assign(document.createElement("p"), { className: "rd-hint",
          textContent: concepts.length ? "No concept: the picture is painted as it comes." : "This model has no concepts yet: learn one from pictures of yours on the Concepts tab." }));
      }
    }

    return {
      concepts(list) { concepts = list; if (terms.every((term) => list.some((one) => one.name === term.name))) draw(); },
      renamed(old, name) {
        concepts = concepts.map((one) => (one.name === old ? { ...one, name, title: `${name} (yours)` } : one));
        for (const term of terms) if (term.name === old) term.name = name;
        draw();
      },
      set(list) { terms = list; draw(); },
      add() {
        const unused = concepts.find((one) => !terms.some((term) => term.name === one.name)) || concepts[0];
        if (!unused || terms.length >= about.terms) return;
        terms.push(fresh(unused));
        draw();
        changed();
        root.lastElementChild.scrollIntoView({ block: "nearest" });
        root.lastElementChild.querySelector("select").focus();
      },
      full: () => terms.length >= about.terms || !concepts.length,
      told: () => terms.map((term) => ({ ...term })),
    };
  }

  return { build };
})();

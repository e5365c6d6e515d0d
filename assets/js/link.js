/* The page in its address. A tab's controls are a part: `now` is what they say, `past` and `future` are for undo and redo.
   Links are #tab?key=value&...; what a link says that this page did not write itself is checked by the server. */
window.RudderLink = (() => {
  const REST = 350;  // milliseconds in which changes count as one
  const MOST = 200;  // steps of undo
  const NONE = ["a", "b", "negative", "sites", "way", "even", "card"];  // where nothing is a value as well
  const LAB = "lab"; // keeps its own link (lab-figure.js)
  const parts = {}, waiting = {}, late = {}, labels = {}, speakers = {}, absent = {};
  const shown = { tab: "steer", painted: true };
  let asked = null;  // a link that waits for its tab

  const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
  const copied = (values) => JSON.parse(JSON.stringify(values));  // Gradio's own lists cannot go into the history
  const plain = (state) => JSON.stringify(state.values);

  function mount({ props, trigger }) {
    const { name, keys, model, shown: held } = props.value;
    parts[name] = { name, keys, model, held, trigger, past: [], future: [], now: null, next: null, values: null };
    if (waiting[name]) begin(name, waiting[name]);
  }

  /* The controls as the page opened with them. */
  function begin(name, values) {
    waiting[name] = values;
    const part = parts[name];
    if (!part || part.now) return;
    part.values = copied(values);
    part.now = said(part);
    part.painted = part.adopted = plain(part.now);
    buttons();
    if (late[name]) changed(name, late[name]);
    if (name === "steer") {
      remember("replaceState", location.hash);
      arrive(location.hash);
    } else if (asked?.tab === name) open(asked);
  }

  /* A tab whose script keeps its own state: it tells of changes as `changed` does, and `restore` takes values back. */
  function speaks(name, values, { restore, lacks }) {
    speakers[name] = { restore };
    lacking(name, lacks);
    begin(name, values);
  }

  /* `lacks` says what of a tab, beside concepts of one's own, a link cannot carry; "" for nothing. */
  function lacking(name, lacks) { absent[name] = lacks; }

  /* What is shown was painted with the controls as they are. */
  function done(name) {
    const part = parts[name];
    if (!part?.now) return;
    settle(part);
    part.painted = plain(part.now);
    shown.painted = true;
    if (shown.tab === name) remember("replaceState", hash());
  }

  let stageSays = {};
  const said = (part) => ({ values: part.values, strengths: part.name === "steer" ? { ...stageSays } : {} });

  /* Gradio tells of every change, its own ones too: those that leave everything as it was are none. */
  function changed(name, values) {
    const part = parts[name];
    if (!part?.now) { (speakers[name] ? late : waiting)[name] = values; return; }
    part.values = copied(values);
    clearTimeout(part.timer);
    part.timer = setTimeout(() => settle(part), REST);
  }

  function settle(part, byHand = true) {
    clearTimeout(part.timer);
    if (!part.now) return;
    const next = said(part);
    if (same(next, part.now)) return;
    const other = plain(next) !== plain(part.now);
    if (byHand) {
      part.past = [...part.past, part.now].slice(-MOST);
      part.future = [];
    }
    part.now = next;
    note(part, other);
  }

  function flush() { for (const part of Object.values(parts)) settle(part); }

  /* A change goes into the address; the first after a Generate into the history too, so that Back leads to what was
     painted. */
  function note(part, other) {
    buttons();
    if (part.name === "steer") Rudder.due(plain(part.now) !== part.painted);
    document.dispatchEvent(new CustomEvent("rudder-changed", { detail: { part: part.name } }));
    const how = other && shown.painted ? "pushState" : "replaceState";
    if (other) shown.painted = false;
    if (!asked && shown.tab !== LAB) remember(how, hash());
  }

  function remember(how, address) {
    const marked = (part) => part.now && { ...part.now, marks: RudderMarks.of(RudderMarks.names(part, part.now.values)) };
    const state = Object.fromEntries(Object.values(parts).map((part) => [part.name, marked(part)]));
    history[how]({ rudder: { tab: shown.tab, parts: state, painted: shown.painted } }, "",
      address || location.pathname + location.search);
  }

  /* The visible tab's link. */
  function hash(tab = shown.tab) {
    if (!parts[tab]) return tab === "steer" ? "" : `#${tab}`;
    const query = new URLSearchParams({ model: parts[tab].model });
    for (const part of shownParts(tab)) {
      part.keys.forEach((key, at) => put(query, key, part.now.values[at]));
      for (const [column, value] of Object.entries(part.now.strengths)) query.set(`s${column}`, String(value));
    }
    const marks = RudderMarks.told(RudderMarks.of(namesIn(tab)));
    if (marks) query.set("marks", marks);
    return `#${tab}?${query}`;
  }

  const shownParts = (tab) => parts[tab].held.map((name) => parts[name]).filter((one) => one?.now);
  const namesIn = (tab) => [...new Set(shownParts(tab).flatMap((part) => RudderMarks.names(part, part.now.values)))];

  function put(query, key, value) {
    if (typeof value === "boolean") query.set(key, value ? "1" : "0");
    else if (value !== null && value !== undefined) {
      if (value.length !== 0 || NONE.includes(key)) query.set(key, Array.isArray(value) ? value.join(",") : String(value));
    }
  }

  /* What the address asks for: a tab, and its controls. */
  function arrive(address) {
    const [tab, query] = address.slice(1).split(/\?(.*)/s);
    if (tab === LAB) { select(LAB); remember("replaceState", address); }
    if (!tab || tab === LAB) return;
    if (!query) { select(tab); return; }
    const model = new URLSearchParams(query).get("model");
    if (model && model !== parts.steer.model && follow(model, address)) return;
    open({ tab, query });
  }

  /* Another model's page, where the menu has one. */
  function follow(model, address) {
    const link = [...document.querySelectorAll(".rd-models a[href]")].find((one) => one.textContent === model);
    if (link) location.assign(new URL(link.getAttribute("href"), location.href).href.split("#")[0] + address);
    return Boolean(link);
  }

  function open({ tab, query, paint = tab === "steer" }) {
    select(tab);
    if (tab !== "steer" && !parts[tab]) {  // it is there once its tab has been shown
      asked = { tab, query, paint };
      setTimeout(() => { asked = null; }, 20_000);
      return;
    }
    asked = null;
    shown.painted = false;
    for (const name of parts[tab].held) parts[name].trigger("open", { query, paint: paint && name === "steer" });
  }

  /* On from a recipe, such as a grid's cell; `marks`: those of its concepts when it was painted. */
  function go(recipe, marks = {}) {
    const [[concept, strength]] = recipe.concepts;
    const query = new URLSearchParams({ model: recipe.model, a: recipe.prompt, compare: "0", concept, seed: recipe.seed,
      steps: recipe.num_inference_steps, guidance: recipe.guidance_scale, negative: recipe.negative_prompt,
      from: recipe.window.start, until: recipe.window.end, sites: (recipe.sites || []).join(","), halves: recipe.halves,
      keep: "1", sa: strength, sb: strength, marks: RudderMarks.told(marks) });
    flush();
    if (recipe.model !== parts.steer.model) {
      if (!follow(recipe.model, `#steer?${query}`)) Rudder.notify({ text: `This page has no model ${recipe.model}.` });
      return;
    }
    Rudder.stop();
    select("steer");
    remember("pushState", hash());
    open({ tab: "steer", query: String(query) });
    scrollTo({ top: 0 });
  }

  function select(name) {
    if (name === LAB) {
      if (shown.tab !== LAB && window.RudderLab?.open()) shown.tab = LAB;
      return;
    }
    const words = labels[name] || name;
    const all = [...document.querySelectorAll("#rd-tabs [role=tab], #rd-tabs .overflow-dropdown button")];
    const button = all.find((one) => one.textContent.trim() === words || one.textContent.trim().toLowerCase() === words);
    if (!button || shown.tab === name) return;
    shown.tab = name;
    button.click();
  }

  /* A tab is shown: by a click, or because `select` asked for it. */
  function tab(name, label) {
    labels[name] = label;
    if (shown.tab === name) return;
    flush();
    shown.tab = name;
    if (name === LAB && location.hash.startsWith(`#${LAB}`)) { remember("replaceState", location.hash); return; }
    remember("pushState", hash());
  }

  /* A part's controls set to a state that this page had. */
  function set(part, state) {
    part.next = part.now = state;
    part.values = state.values;
    stageSays = { ...stageSays, ...state.strengths };
    if (speakers[part.name]) speakers[part.name].restore(copied(state.values));
    else part.trigger("put");
    buttons();
    if (part.name === "steer") Rudder.due(plain(state) !== part.painted);
    document.dispatchEvent(new CustomEvent("rudder-changed", { detail: { part: part.name } }));
  }

  function step(name, from, to) {
    const part = parts[name];
    if (part) settle(part);
    if (!part?.[from].length) return;
    const had = part.now, next = part[from].pop();
    part[to].push(had);
    set(part, next);
    if (name === "steer" && plain(next) === part.painted) Rudder.steer(next.strengths);
    note(part, plain(next) !== plain(had));
  }

  addEventListener("popstate", (event) => {
    const told = event.state?.rudder;
    if (!told) { arrive(location.hash); return; }
    select(told.tab);
    if (told.tab !== LAB) shown.tab = told.tab;
    for (const [name, kept] of Object.entries(told.parts)) {
      const part = parts[name];
      clearTimeout(part?.timer);
      const state = part && kept && recalled(part, kept);
      if (!state || same(state, part.now)) continue;
      part.past = [...part.past, part.now].slice(-MOST);
      part.future = [];
      set(part, state);
      if (name !== "steer") continue;
      if (plain(state) === part.painted) Rudder.steer(state.strengths);
      else if (told.painted) again(part, state);
    }
    shown.painted = told.painted;
  });

  /* A state of the history, its concepts by the names they have now. */
  function recalled(part, { marks = {}, ...state }) {
    return { ...state, values: RudderMarks.mapped(part, state.values, (name) => RudderPickers.named(name, marks[name])) };
  }

  /* A concept got another name: nothing of this is a change of the controls. */
  function renamed(old, name) {
    const to = (one) => (one === old ? name : one);
    for (const part of Object.values(parts)) {
      if (!part.now) continue;
      const values = (some) => RudderMarks.mapped(part, some, to);
      const state = (one) => ({ ...one, values: values(one.values) });
      const text = (kept) => kept && JSON.stringify(values(JSON.parse(kept)));
      const had = part.now;
      Object.assign(part, { now: state(had), values: values(part.values), past: part.past.map(state),
        future: part.future.map(state), painted: text(part.painted), adopted: text(part.adopted) });
      if (speakers[part.name] || same(had, part.now)) continue;
      part.next = part.now;
      part.trigger("put");
    }
    document.dispatchEvent(new CustomEvent("rudder-renamed", { detail: { old, name } }));
    setTimeout(() => remember("replaceState", hash()), REST);  // once the lists of concepts know it, too
  }

  /* The pictures of a state of the past are painted again; what is remembered of it stays. */
  function again(part, state) {
    const concept = state.values[part.keys.indexOf("concept")];
    Rudder.restored({ again: true, strengths: state.strengths, concept });
  }

  document.addEventListener("rudder-generated", () => setTimeout(() => {
    if (parts.steer?.now) Rudder.due(false);
    done("steer");
  }, REST));

  /* A Generate that was stopped or failed before its pictures came: those on show are of what was painted before. */
  document.addEventListener("rudder-ungenerated", () => setTimeout(() => {
    const part = parts.steer;
    if (!part?.now) return;
    part.painted = part.adopted;
    shown.painted = plain(part.now) === part.painted;
    Rudder.due(!shown.painted);
  }, REST));

  /* Strengths that came with pictures are part of what is there; those set by hand are changes. */
  document.addEventListener("rudder-steered", ({ detail }) => {
    stageSays = { ...stageSays, ...detail.strengths };
    const part = parts.steer;
    if (!part?.now) return;
    if (detail.byHand) { changed("steer", part.values); return; }
    setTimeout(() => { part.adopted = part.painted; }, REST);
    part.now = { ...part.now, strengths: { ...stageSays } };
    if (shown.tab === "steer" && history.state?.rudder) remember("replaceState", location.hash && hash());
  });

  function buttons() {
    for (const [kind, stack] of [["undo", "past"], ["redo", "future"]]) {
      for (const one of document.querySelectorAll(`.rd-${kind}`)) one.disabled = !parts[one.dataset.part]?.[stack].length;
    }
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.(".rd-undo, .rd-redo");
    if (!button) return;
    if (button.matches(".rd-undo")) step(button.dataset.part, "past", "future");
    else step(button.dataset.part, "future", "past");
  });

  const typing = (target) => target.isContentEditable || target.matches?.("textarea, select")
    || (target.matches?.("input") && !["range", "checkbox", "radio", "button"].includes(target.type));

  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey || typing(event.target) || !parts[shown.tab]) return;
    const key = event.key.toLowerCase();
    if (key !== "z" && key !== "y") return;
    event.preventDefault();
    if (key === "z" && !event.shiftKey) step(shown.tab, "past", "future");
    else step(shown.tab, "future", "past");
  });

  function copy() {
    flush();
    remember("replaceState", hash());
    const told = (text) => Rudder.notify({ text, kind: "note" });
    const lacks = lacksOf(shown.tab);
    const rest = lacks ? ` It brings back all but ${lacks} along.` : " It brings all of this back.";
    (navigator.clipboard?.writeText(location.href) || Promise.reject(new Error("no clipboard")))
      .then(() => told(`Link copied.${rest}`), () => told(`The link is in the address bar: copy it from there.${rest}`));
  }

  /* What of a tab a link does not carry. */
  function lacksOf(tab) {
    const said = absent[tab]?.();
    if (said) return said;
    const own = parts[tab] ? namesIn(tab).filter(RudderPickers.isOwn) : [];
    if (!own.length) return "";
    const [what, files] = own.length > 1 ? ["concepts", "files"] : ["concept", "file"];
    return `your own ${what} (${own.join(", ")}): uploads do not travel in a link, so send the vector ${files}`;
  }

  return { mount, begin, changed, speaks, lacking, done, tab, go, copy, renamed, values: (name) => parts[name].next.values };
})();
